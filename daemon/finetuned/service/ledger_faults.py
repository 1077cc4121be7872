"""What SQLite raises, in words: is the file damaged, what was found, and what can be done."""

from __future__ import annotations

BROKEN = (
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_ERROR",
)  # the last: a table or column is not called that any more
UNDECODABLE = "Could not decode to UTF-8"
DAMAGED = "the file is damaged; restore it from a backup, or give finetuned another state folder"
REMEDIES = {
    "SQLITE_FULL": "the disk is full: free some space",
    "SQLITE_BUSY": "another program holds it; look who has it open",
    "SQLITE_NOTADB": "the file is no ledger; give finetuned another state folder",
    "SQLITE_CORRUPT": DAMAGED,
    "SQLITE_CANTOPEN": "the state folder must exist and be writable",
    "SQLITE_READONLY": "the state folder must be writable",
    "SQLITE_IOERR": "the disk refuses; see the kernel's log",
}


def is_damage(error: Exception) -> bool:
    """Say whether it speaks of a damaged file: by SQLite's name for it, or since its text is no UTF-8."""
    return _undecodable(error) or _name(error).startswith(BROKEN)


def sentence(error: Exception) -> str:
    """Return what was found, without the content of a row."""
    if isinstance(error, UnicodeDecodeError):
        return bytes(error.object).decode("utf-8", "backslashreplace")
    return str(error).partition(" with text ")[0] if _undecodable(error) else str(error)


def remedy(error: Exception) -> str:
    """Return what can be done about it."""
    if _undecodable(error):
        return DAMAGED
    return next(
        (words for code, words in REMEDIES.items() if _name(error).startswith(code)), "nothing was changed"
    )


def _name(error: Exception) -> str:
    return getattr(error, "sqlite_errorname", "")


def _undecodable(error: Exception) -> bool:
    """Python has no class for it: a row's text, or a message of SQLite's that quotes a damaged schema."""
    return isinstance(error, UnicodeDecodeError) or str(error).startswith(UNDECODABLE)
