"""Claiming: a private copy of a file that somebody else may still change, and the end of the original.

Every step from the inbox's root down is opened without following a link, so that nobody who may write into the
inbox can lead the daemon out of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.errors import SampleError
from finetuned.service.watch import Found

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

CHUNK = 1 << 20  # bytes
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
PRIVATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class TooLargeError(SampleError):
    """The file is larger than a sample may be; it was not copied."""


class Changed(Exception):  # noqa: N818 - no error: the file comes again when it has settled
    """The file is not the one that was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A private, fsynced copy in `incoming/`, and the SHA-256 (hex) of what is in it."""

    copy: Path
    digest: str
    size: int


def claim(root: Path, found: Found, incoming: Path, limit: int) -> Claim:
    """Copy the file into `incoming` while it is hashed.

    Raises `Changed` when it is no longer what was found, `TooLargeError`, and `OSError`; then nothing is left behind.
    """
    with opened_parent(root, found) as (folder, name):
        try:
            source = os.open(name, FILE, dir_fd=folder)
        except FileNotFoundError as error:
            raise Changed from error
    with os.fdopen(source, "rb", buffering=0) as file:
        _expect(found, source)
        if found.size > limit:
            raise TooLargeError(f"{found.size / 2**20:.1f} MiB; the limit is {limit / 2**20:g} MiB")
        copy = incoming / secrets.token_hex(8)
        with _removed_on_failure(copy):
            digest = _copy(file, copy, found.size)
            _expect(found, source)
    return Claim(copy=copy, digest=digest, size=found.size)


def remove_original(root: Path, found: Found) -> bool:
    """Remove the file from the inbox, unless something has touched it since it was found; say whether it is gone."""
    with contextlib.suppress(Changed, FileNotFoundError), opened_parent(root, found) as (folder, name):
        if Found.of(found.path, os.lstat(name, dir_fd=folder)) == found:
            os.unlink(name, dir_fd=folder)
            return True
    return False


def move_original(root: Path, found: Found, target: Path) -> bool:
    """Rename the file to `target`, as `remove_original` would remove it; `OSError` where that is another disk."""
    with contextlib.suppress(Changed, FileNotFoundError), opened_parent(root, found) as (folder, name):
        if Found.of(found.path, os.lstat(name, dir_fd=folder)) == found:
            os.rename(name, target, src_dir_fd=folder)
            return True
    return False


@contextlib.contextmanager
def opened_parent(root: Path, found: Found) -> Iterator[tuple[int, str]]:
    """Open the folder that the file lies in; yield its descriptor and the file's name.

    Raises `Changed` where a folder on the way has become something else.
    """
    *folders, name = found.path.relative_to(root).parts
    folder = os.open(root, FOLDER)
    try:
        for part in folders:
            inner = _inner(folder, part)
            os.close(folder)
            folder = inner
        yield folder, name
    finally:
        os.close(folder)


def _inner(folder: int, name: str) -> int:
    try:
        return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Changed from error


def _expect(found: Found, descriptor: int) -> None:
    """Raise `Changed` unless this is the regular file that was found."""
    now = Found.of(found.path, os.fstat(descriptor))
    if now != found or not now.is_regular:
        raise Changed


def _copy(file: FileIO, copy: Path, size: int) -> str:
    """Copy at most `size` bytes and one, fsynced; return their SHA-256."""
    digest = hashlib.sha256()
    left = size + 1
    with os.fdopen(os.open(copy, PRIVATE, 0o600), "wb") as private:
        while chunk := file.read(min(CHUNK, left)):
            digest.update(chunk)
            private.write(chunk)
            left -= len(chunk)
        private.flush()
        os.fsync(private.fileno())
    if left != 1:
        raise Changed
    return digest.hexdigest()


@contextlib.contextmanager
def _removed_on_failure(copy: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
