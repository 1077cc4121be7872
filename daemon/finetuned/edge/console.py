"""How commands speak: JSON on stdout for machines, tables and colours on stderr for people, exit codes for both."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import typer

from finetuned.edge.exits import DONE, INTERRUPTED, NO, USAGE, exit_code
from finetuned.errors import FinetunedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

__all__ = [
    "DONE",
    "INTERRUPTED",
    "NO",
    "USAGE",
    "line",
    "person",
    "plain",
    "refuse",
    "table",
    "told",
    "without_logs",
]


OBEYED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Beyond what JSON escapes anyway; none of these stands outside of its strings."""


def line(value: object) -> None:
    """Write one line of JSON to stdout, at once; what a terminal would obey, or turn, is escaped in it."""
    text = msgspec.json.encode(value).decode()
    sys.stdout.buffer.write(OBEYED.sub(lambda each: f"\\u{ord(each[0]):04x}", text).encode() + b"\n")
    sys.stdout.buffer.flush()


def person() -> Console:
    """Return where people read: stderr, in colours if it is a terminal."""
    from rich.console import Console  # noqa: PLC0415 - rich is for commands that print tables, never for the daemon

    return Console(stderr=True, highlight=False, soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table for people."""
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        drawn.add_column(column, no_wrap=place == 0, overflow="fold")  # the first is what is copied
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    person().print(drawn)


@contextmanager
def told(*, json: bool) -> Iterator[None]:
    """Turn errors into a sentence (or JSON) and an exit status; nobody sees a traceback of ours."""
    try:
        yield
    except FinetunedError as error:
        refuse(error, json=json)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader (head, a closed terminal) has seen enough.
        sys.stdout = None  # nothing is flushed at exit any more
        raise typer.Exit(DONE) from None


def refuse(error: FinetunedError, *, json: bool) -> NoReturn:
    """Say what is wrong and leave with the status that says so too."""
    if json:
        line({"error": str(error), "fault": error.fault})
    else:
        from rich.markup import escape  # noqa: PLC0415 - as above

        person().print(f"[bold red]{error.fault}:[/] {escape(str(error))}", soft_wrap=True)
    raise typer.Exit(exit_code(error)) from None


def without_logs() -> None:
    """Let no room's log line stand among what a command says: that is its own, or JSON."""
    import logging  # noqa: PLC0415 - for commands that carry what logs

    import structlog  # noqa: PLC0415 - as above

    logging.disable()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def plain(value: Any) -> Any:  # noqa: ANN401 - any struct, as JSON would show it
    """Return a struct as builtins."""
    return msgspec.to_builtins(value)
