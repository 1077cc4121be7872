"""The daemon's log: structlog to standard error, JSON for machines, plain colours for people.

The libraries' own words (amqtt, paho, asyncio …) come through the same door, from warning up.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

# structlog's __init__ imports structlog.dev, which imports rich wherever it is installed: 0.4 s and 10 MB in
# a daemon that draws nothing.  None in sys.modules is how Python says "not there"; the commands that do
# draw import rich for themselves later.  Hence the modules of this room take their logger from here.
_rich = sys.modules.get("rich")
if _rich is None:
    sys.modules["rich"] = None  # type: ignore[assignment]  # documented for import statements, not in typeshed
try:
    import structlog
    import structlog.dev
finally:
    if _rich is None:
        del sys.modules["rich"]

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

    from finetuned.edge.config import Log

# sd-daemon(3): journald takes a line's priority from such a prefix.
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
SECRETS = frozenset({"password", "secret", "token", "authorization"})


def get_logger(room: str) -> FilteringBoundLogger:
    """Return a logger whose lines name the room that speaks."""
    logger: FilteringBoundLogger = structlog.get_logger(room=room)
    return logger


def setup(log: Log, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Send everything that is logged in this process, ours and the libraries', to `stream` (standard error)."""
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[log.level.upper()]
    structlog.configure(
        processors=_processors(_format(log.format, stream), stream, journal=_is_journal(stream, environ)),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[Router()], level=max(level, logging.WARNING), force=True)
    logging.getLogger("finetuned").setLevel(level)
    logging.captureWarnings(capture=True)


class Router(logging.Handler):
    """Hands the records of the standard library's logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record; amqtt gives a traceback for every client that goes away, which is no error of ours."""
        foreign = record.name.startswith("amqtt")
        level = min(record.levelno, logging.WARNING) if foreign else record.levelno
        exc_info = None if foreign else record.exc_info
        get_logger(record.name).log(level, record.getMessage().replace("\n", " "), exc_info=exc_info)


def _format(wanted: Literal["auto", "json", "console"], stream: TextIO) -> Literal["json", "console"]:
    if wanted == "auto":
        return "console" if stream.isatty() else "json"
    return wanted


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether the stream leads to journald: $JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"


def _processors(form: Literal["json", "console"], stream: TextIO, *, journal: bool) -> list[Processor]:
    render = _json if form == "json" else _console(stream)
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _discreet,
        _with_priority(render) if journal else render,
    ]


def _discreet(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide secrets, and say a file's name rather than where a person keeps it."""
    return {key: "hidden" if key in SECRETS else _shown(value) for key, value in event.items()}


def _shown(value: object) -> object:
    return value.name if isinstance(value, Path) else value


def _json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    whole = structlog.processors.format_exc_info(logger, method, event)
    return str(structlog.processors.JSONRenderer(ensure_ascii=False)(logger, method, whole))


def _console(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty() and "NO_COLOR" not in os.environ,
        exception_formatter=structlog.dev.plain_traceback,
        timestamp_key="ts",
    )


def _with_priority(render: Processor) -> Processor:
    """Put journald's priority before each line that `render` makes: afterwards the level is known no more."""

    def prefixed(logger: WrappedLogger, method: str, event: EventDict) -> str:
        prefix = f"<{PRIORITIES.get(event['level'], 6)}>"
        return "\n".join(f"{prefix}{line}" for line in str(render(logger, method, event)).splitlines())

    return prefixed
