"""Files that are there whole or not at all, and what a full disk is called.

What goes wrong is said with the file's name, not where it lies: it may go out over MQTT or into a log, and a path tells of users.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ASIDE = ".tmp"
REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "the folder must belong to the user that finetuned runs as",
    errno.EPERM: "the folder must belong to the user that finetuned runs as",
    errno.EXDEV: "both must lie on one file system",
}


@contextmanager
def host_errors(doing: str) -> Iterator[None]:
    """Turn what the disk says into a HostError that begins with what was being done."""
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, error.strerror or str(error))
        raise HostError(f"{doing} failed: {remedy}") from error


def aside(path: Path) -> Path:
    """Return where `path` is written before it is renamed into place: hidden, beside it, `*.tmp`."""
    return path.with_name(f".{path.name}{ASIDE}")


def mode_of(path: Path) -> int:
    """Return who may read and write the file, as mode bits; where there is none, what a user's file has: all may read it."""
    with host_errors(f"looking for {path.name}"):
        return path.stat().st_mode & 0o777 if path.exists() else 0o644


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write `data` aside, fsync it and rename it into place: after a power cut the old or the new is there."""
    with host_errors(f"writing {path.name}"):
        temporary = aside(path)
        try:
            temporary.unlink(missing_ok=True)  # one that a crash left has a mode of its own
            write_durably(temporary, data, mode=mode)
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file and fsync it, in place; it has `mode` from its first byte on."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def link_atomically(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, in place of whatever link is there."""
    with host_errors(f"linking {link.name}"):
        temporary = aside(link)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
        fsync_folder(link.parent)


def move(source: Path, target: Path) -> None:
    """Rename a fsynced file into a folder, which is made where it is missing."""
    with host_errors(f"moving {source.name}"):
        make_folder(target.parent)
        source.replace(target)
        fsync_folder(target.parent)


def make_folder(path: Path, *, mode: int = 0o700) -> None:
    """Make a folder, and those above it, for the owner only unless `mode` says more; what is there stays as it is."""
    with host_errors(f"making the folder {path.name}"):
        if path.is_dir():
            return
        make_folder(path.parent, mode=mode)
        path.mkdir(mode=mode, exist_ok=True)
        fsync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there."""
    with host_errors(f"removing {path.name}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def fsync_file(path: Path) -> None:
    """Bring a file's content to the disk."""
    _fsync(path, os.O_RDONLY)


def fsync_folder(path: Path) -> None:
    """Bring a folder's entries (creations, renames) to the disk."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    with host_errors(f"reading {path.name}"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let other processes wait until we are done here: SQLite heeds no timeout where two switch a new file to WAL."""
    with host_errors(f"opening the folder {folder}"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
