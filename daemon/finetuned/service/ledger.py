"""The ledger: what is acknowledged, in one SQLite file, and the one thread that may touch it.

The queries are plain functions over a connection, one module per noun (`ledger_models`,
`ledger_samples`, `ledger_tasks`, `ledger_versions`, `ledger_outcomes`, `ledger_requests`).  The daemon
calls them as `await ledger.run(accept_batch, samples, tell=…)`, a command as
`with opened(path) as db: add_model(db, …)`.  A function that writes is `@atomic`: one transaction that is
on the disk when it returns, or never was.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from finetuned import files
from finetuned.errors import HostError
from finetuned.service.ledger_faults import remedy, sentence
from finetuned.service.ledger_footing import Footing
from finetuned.service.ledger_integrity import check
from finetuned.service.ledger_migrations import SCHEMA_VERSION, migrate, refuse_older_daemon, statements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

P = ParamSpec("P")
R = TypeVar("R")

BUSY_TIMEOUT_S = 10.0
HURRIED_S = 1.0
"""How long another program's lock is waited for; and by a daemon that is about to leave."""
WAL_BYTES = 4 * 2**20  # what the write-ahead log keeps of the disk after a large transaction
PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "secure_delete = ON",  # what is forgotten is overwritten where it stands
    f"journal_size_limit = {WAL_BYTES}",
)


class Ledger:
    """The ledger as the daemon uses it: every call runs on the ledger's own thread, in order."""

    def __init__(self, executor: ThreadPoolExecutor, db: sqlite3.Connection, footing: Footing) -> None:
        """Wrap a connection that was opened on the executor's only thread."""
        self._executor = executor
        self._db = db
        self._footing = footing

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[Ledger]:
        """Open the ledger at `path`, making it where there is none.

        HostError where that cannot be, or where what is there is broken: then a copy of it was laid aside.
        """
        loop = asyncio.get_running_loop()
        executor = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        try:
            db = await loop.run_in_executor(executor, _checked, path)
            try:
                yield cls(executor, db, Footing.of(path))
            finally:
                # Behind everything that was asked for: the thread takes its work in order.
                await asyncio.shield(loop.run_in_executor(executor, db.close))
        finally:
            executor.shutdown(wait=False)

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call `function(db, *args, **kwargs)` on the ledger's thread.

        A caller that is cancelled while it waits does not take back what it asked for.

        Raises:
            HostError: the disk refuses, or the file was taken away: what went into it nobody finds again, so nobody may
                take it for acknowledged.
        """
        call = partial(_call, self._footing, function, self._db, *args, **kwargs)
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._executor, call))


def _checked(path: Path) -> sqlite3.Connection:
    with files.host_errors(f"opening the ledger {path}"):
        if path.exists():
            check(path)
    return connect(path)


def _call(
    footing: Footing,
    function: Callable[Concatenate[sqlite3.Connection, P], R],
    db: sqlite3.Connection,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    with _host_errors("the ledger"):
        result = function(db, *args, **kwargs)
    footing.check()  # afterwards: what it says holds for what was just written
    return result


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger for a command; the daemon may have it open at the same time."""
    with closing(connect(path)) as db, _host_errors(f"the ledger {path}"):
        yield db


def atomic(
    function: Callable[Concatenate[sqlite3.Connection, P], R],
) -> Callable[Concatenate[sqlite3.Connection, P], R]:
    """Make `function` one transaction; called from another one it becomes part of that."""

    @wraps(function)
    def in_transaction(db: sqlite3.Connection, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with transaction(db):
            return function(db, *args, **kwargs)

    return in_transaction


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what happens inside as one; an exception undoes all of it."""
    if db.in_transaction:
        yield
        return
    # IMMEDIATE: whoever reads and then writes must not find that somebody else wrote in between.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, check that it is a ledger of ours, make the tables in a new one, lead an older one to this schema."""
    with files.alone_in(path.parent), _host_errors(f"the ledger {path}"):
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            for pragma in PRAGMAS:
                db.execute(f"PRAGMA {pragma}")
            _bring_up_to_date(db, path)
        except BaseException:
            db.close()
            raise
        return db


def _bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    version = _version(db, path)
    if version == 0:
        _make_tables(db, path.parent)
    elif version < SCHEMA_VERSION:
        refuse_older_daemon(path)
        check(path)  # a step must not be taken on broken ground
        migrate(db, path, version)


def _version(db: sqlite3.Connection, path: Path) -> int:
    """Return the schema's version, 0 where there is none yet; HostError for what is no ledger that we know."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if version < 0:
        raise HostError(
            f"{path} is damaged, or no ledger of finetuned (its schema is {version}); restore it from a backup, or give "
            "finetuned another state folder"
        )
    if version > SCHEMA_VERSION:
        raise HostError(
            f"the ledger {path} was written by a newer finetuned (its schema is {version}, this version knows "
            f"{SCHEMA_VERSION}); update finetuned, or give it another state folder"
        )
    if version == 0 and tables:
        raise HostError(
            f"{path} is a database, but no ledger of finetuned; give finetuned another state folder"
        )
    return int(version)


@atomic
def _make_tables(db: sqlite3.Connection, state: Path) -> None:
    _refuse_orphans(state)
    for statement in statements(Path(__file__).with_name("ledger.sql").read_text("utf-8")):
        db.execute(statement)


def _refuse_orphans(state: Path) -> None:
    """Refuse to begin anew where samples or versions lie that a ledger must have known."""
    for kind in ("versions", "samples"):
        if any(state.glob(f"models/*/*/{kind}/*")):
            raise HostError(
                f"{state} holds {kind}, but its ledger.db is missing or empty: restore it from a backup, "
                "or move the folder away and begin anew"
            )


@contextmanager
def _host_errors(what: str) -> Iterator[None]:
    """Say what the disk or the file did to us; mistakes in a query stay what they are."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.NotSupportedError):
        raise
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise HostError(f"{what} cannot be used: {sentence(error)}; {remedy(error)}") from error


def data_version(db: sqlite3.Connection) -> int:
    """Return a number that changes when another process has written: cheap to ask again and again."""
    (version,) = db.execute("PRAGMA data_version").fetchone()
    return int(version)


def hurry(db: sqlite3.Connection) -> None:
    """Wait for nobody's lock for long any more."""
    db.execute(f"PRAGMA busy_timeout = {int(HURRIED_S * 1000)}")
