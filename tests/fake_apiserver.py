"""A fake API server on loopback that answers as a script says: for volumes and refusals that no test node gives."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]
Script = Callable[[str, str, dict[str, str], Any], Reply]
"""Takes method, path, query and body to status, answer (bytes go out as they are), and headers."""


class FakeApiServer(ThreadingHTTPServer):
    """Answers as a script says, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeApiServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.command, parts.path, query))
        status, answer, *headers = self.server.script(self.command, parts.path, query, body)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers[0] if headers else {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer  # noqa: N815 - the names http.server has for them

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(script: Script) -> Iterator[FakeApiServer]:
    """Give a server that runs in a thread, gone with the block."""
    server = FakeApiServer(script)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_config(path: Path, address: str) -> Path:
    """Write a kubeconfig that leads to `address`."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "contexts": [{"name": "fake", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "sesame"}}],
    }
    path.write_text(json.dumps(config))
    return path


def refused(code: int, message: str, **more: Any) -> Reply:
    """Return an answer that says no."""
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code, **more}
