"""What the daemon stands on: the very file that the ledger was opened in, which may be taken away under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.errors import HostError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """The ledger's file by its device and inode: SQLite writes on into a file that nobody finds any more."""

    path: Path
    device: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Footing:
        """Return the footing of a ledger that was just opened."""
        status = path.stat()
        return cls(path=path, device=status.st_dev, inode=status.st_ino)

    def check(self) -> None:
        """Raise HostError where the file is gone, or another one lies in its place."""
        try:
            there = Footing.of(self.path)
        except (FileNotFoundError, NotADirectoryError):
            there = None
        except OSError as error:
            raise HostError(f"the ledger {self.path} cannot be looked at: {error.strerror}") from error
        if there != self:
            what = "is gone" if there is None else "was replaced by another file"
            raise HostError(
                f"the ledger {self.path} {what} while the daemon ran; what was acknowledged since is lost with it. "
                "Stop the daemon before the state folder is removed, moved or restored"
            )
