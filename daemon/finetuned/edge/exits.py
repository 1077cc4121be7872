"""Exit statuses: 0 done or yes, 1 no or failed, 2 wrong usage or configuration, 130 interrupted (CLI.md)."""

from __future__ import annotations

from finetuned.errors import ConfigurationError, FinetunedError, InUseError, ParameterError

DONE, NO, USAGE, INTERRUPTED = 0, 1, 2, 130

EXIT_CODES: dict[type[FinetunedError], int] = {
    ConfigurationError: USAGE,
    ParameterError: USAGE,
    InUseError: USAGE,
    FinetunedError: NO,
}
"""The exit status of an error: that of its nearest class in this table."""


def exit_code(error: FinetunedError) -> int:
    """Return the exit status that tells of this error."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
