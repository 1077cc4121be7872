"""How commands speak: JSON on stdout for machines, tables and colours on stderr for people, exit codes for both."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import typer

from finetuned.edge.exits import DONE, INTERRUPTED, NO, USAGE, exit_code
from finetuned.edge.wording import harmless
from finetuned.errors import ConfigurationError, FinetunedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

__all__ = [
    "DONE",
    "INTERRUPTED",
    "NO",
    "USAGE",
    "Part",
    "line",
    "person",
    "plain",
    "refuse",
    "say",
    "table",
    "told",
    "without_logs",
]


Part = str | tuple[str, str]
"""Some words of a line, alone or with their style."""

MOST_SAID, MOST_IN_CELL = 1 << 20, 500  # characters

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


def say(*parts: Part) -> None:
    """Print one line for people, of texts and (text, style).

    The one way in which what strangers named may be said: nothing is read as markup, nothing reaches the terminal that it
    would obey.
    """
    from rich.text import Text  # noqa: PLC0415 - as above

    each = ((part, "") if isinstance(part, str) else part for part in parts)
    person().print(Text.assemble(*((harmless(text, MOST_SAID), style) for text, style in each)))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table for people; what stands in it may be strangers', as in `say`."""
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    named = Text(harmless(title), style="table.title") if title else None
    drawn = Table(title=named, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        drawn.add_column(column, no_wrap=place == 0, overflow="fold")  # the first is what is copied
    for row in rows:
        drawn.add_row(*(Text(harmless(cell, MOST_IN_CELL)) for cell in row))
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
        # Only what is wrong with a configuration is said on several lines.
        first, *more = str(error).split("\n") if isinstance(error, ConfigurationError) else [str(error)]
        say((f"{error.fault}:", "bold red"), " ", first)
        for each in more:
            say(each)
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
