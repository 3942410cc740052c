"""The log of a shim, which no program can make larger than its bounds."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lithify.engines.bundle.shim import _Log


@given(st.lists(st.binary(max_size=30), max_size=40))
def test_a_log_keeps_the_end_within_its_bounds(chunks: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "log")
        log = _Log(str(path), 50)
        for chunk in chunks:
            log.write(chunk)
        log.close()
        older = path.with_name("log.1")
        kept = (older.read_bytes() if older.exists() else b"") + path.read_bytes()
        whole = b"".join(chunks)
        assert path.stat().st_size <= 50
        assert len(kept) <= 100
        assert whole.endswith(kept)
        assert len(kept) >= min(len(whole), 21)
        again = _Log(str(path), 50)
        again.write(b"more")
        again.close()
        assert path.read_bytes().endswith(b"more")
