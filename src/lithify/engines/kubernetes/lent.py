"""Directories of a node's disk that are lent to claims of scratch namespaces: asked for on the node itself."""

import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

from lithify.engines.mounts import host_view, split_view
from lithify.errors import EngineRefused
from lithify.model.path import printable

DISKS = Path("/var/tmp")  # noqa: S108 - directories that only root may enter; kubelet and lithify both see them
"""Where storage for claims is made that the cluster has none for: on disk, gone with the namespace."""
_OURS = re.compile(r"lithify-[a-z0-9-]+")


def is_scratch(namespace: str) -> bool:
    """Tell whether a namespace is called as our scratch namespaces are; anybody may write a name into a label."""
    return _OURS.fullmatch(namespace) is not None


def lend_directory(namespace: str) -> str:
    """Make a directory that anybody may write to, as what makes storage out of directories gives it; return its path.

    EngineRefused where somebody else has put something there.
    """
    folder = _folder(namespace)
    _make_private(folder)
    path = tempfile.mkdtemp(dir=folder)
    os.chmod(path, 0o777)  # noqa: S103 - the directory above is root's alone
    return split_view(Path(path))[1]


def is_lent(namespace: str) -> bool:
    """Tell whether a scratch namespace has directories here."""
    return _folder(namespace).exists()


def take_back(namespace: str) -> None:
    """Remove the directories of a scratch namespace with all that is in them."""
    shutil.rmtree(_folder(namespace), ignore_errors=True)


def _folder(namespace: str) -> Path:
    assert is_scratch(namespace)
    return Path(f"{host_view()}{DISKS}") / namespace


def _make_private(folder: Path) -> None:
    """Make a directory that only we may enter, or find the one that we made; others may make things beside it."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError as error:
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise EngineRefused(
                f"{printable(str(folder))} is there already, and is not ours", hint="remove it: lithify did not make it"
            ) from error
