"""How the daemon and the processes that it starts talk: JSON lines over an inherited socket.

The daemon's end is asynchronous (`spawn` gives a `Child` with its `Channel`), the child's end is synchronous
(`SyncChannel.inherited`).  A line is one message of `messages.py`; raw bytes may follow a line that announces
them.  No pickle anywhere.  Whatever comes in malformed is a `HostError`: one's own process has gone astray.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import msgspec

from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetuned.service.messages import Message

T = TypeVar("T")

LINE_LIMIT = 16 * 2**20  # bytes
STDERR_KEPT = 4096  # bytes
PR_SET_PDEATHSIG = 1

# One thread per process unless the process asks for more itself, and no telemetry: onnxruntime sends some as soon
# as it is imported.
ENVIRONMENT = {"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# A child reads what strangers have made, and need not know where systemd has put the passwords.
WITHHELD = frozenset({"CREDENTIALS_DIRECTORY"})


def encode(message: Message) -> bytes:
    """Return `message` as one line; raise `HostError` when it is longer than a line may be."""
    line = msgspec.json.encode(message)
    if len(line) >= LINE_LIMIT:
        raise HostError(f"a {type(message).__name__} message of {len(line)} bytes; {LINE_LIMIT} are allowed")
    return line + b"\n"


class _Reader(Generic[T]):
    """Turns lines into messages of one type (a union, usually)."""

    def __init__(self, receives: object) -> None:
        self._decoder = msgspec.json.Decoder(cast("type[T]", receives))

    def decode(self, line: bytes | bytearray) -> T:
        try:
            return self._decoder.decode(line)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise HostError(
                f"a message that cannot be understood: {error}; it begins {bytes(line[:80])!r}"
            ) from error


class GoneError(HostError):
    """The other process is gone."""


# ── the daemon's end ────────────────────────────────────────────────────────────────────────────
class Channel(Generic[T]):
    """The asynchronous end; `receives` is the type (or union) of the messages that come in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, receives: object) -> None:
        self._reader = reader
        self._writer = writer
        self._messages: _Reader[T] = _Reader(receives)

    async def send(self, message: Message) -> None:
        """Send one message; raise `GoneError` when the other process is gone, `HostError` when it is too long."""
        try:
            self._writer.write(encode(message))
            await self._writer.drain()
        except OSError as error:
            raise GoneError(f"the other process is gone: {error}") from error

    def post(self, message: Message) -> None:
        """Send one message without waiting until it has left, however busy the other process is; raises as `send`."""
        line = encode(message)
        if self._writer.is_closing():
            raise GoneError("the other process is gone")
        self._writer.write(line)

    async def receive(self) -> T | None:
        """Return the next message, or None when the other process is gone; a malformed line is a `HostError`."""
        try:
            line = await self._reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, OSError):
            return None
        except asyncio.LimitOverrunError as error:
            raise HostError(f"a message longer than {LINE_LIMIT} bytes") from error
        return self._messages.decode(line)

    async def receive_bytes(self, size: int) -> bytes:
        """Return exactly `size` raw bytes; raise `HostError` when the other process dies before."""
        try:
            return await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise HostError(f"the other process died in the middle of {size} bytes") from error

    async def close(self) -> None:
        """Close this end: the child reads the end of its input and leaves."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Child(Generic[T]):
    """A process that the daemon started, and the channel to it."""

    channel: Channel[T]
    process: asyncio.subprocess.Process
    stderr: bytearray
    collector: asyncio.Task[None]

    @property
    def last_words(self) -> str:
        """The last 4 kB that the child wrote to its standard error, for error reports."""
        return self.stderr.decode(errors="replace").strip()

    def kill(self) -> None:
        """Send SIGKILL; nothing happens when it has already ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def stop(self, grace_s: float = 2.0) -> int:
        """Close the channel, wait `grace_s` for the child to leave, else kill it; return its exit status."""
        with contextlib.suppress(TimeoutError):
            try:
                async with asyncio.timeout(grace_s):
                    await self.channel.close()
                    await self.process.wait()
            finally:  # also when the one who stops it is cancelled: no process stays behind
                self.kill()
        return await self.wait()

    async def wait(self) -> int:
        """Wait until the child has ended and all its last words are here; a signal gives its negative number."""
        status = await self.process.wait()
        await self.collector
        return status


async def spawn(module: str, receives: object, *, env: Mapping[str, str] | None = None) -> Child[T]:
    """Start `python -m module` with a socket to it; `receives` is what the child sends.

    The child gets a session of its own (a Ctrl-C reaches only the daemon), no standard input, and `env` on top of
    the daemon's environment, which it is not told all of (`WITHHELD`).  It sets its own limits at its start.  Raises `HostError` when it cannot be started.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = await _started(module, theirs.fileno(), env or {})
        reader, writer = await _connected(ours, process)
    except BaseException:
        ours.close()
        raise
    stderr = bytearray()
    collector = asyncio.create_task(_collect(process.stderr, stderr), name=f"stderr of {module}")
    channel: Channel[T] = Channel(reader, writer, receives)
    return Child(channel=channel, process=process, stderr=stderr, collector=collector)


async def _started(module: str, fd: int, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    inherited = {name: value for name, value in os.environ.items() if name not in WITHHELD}
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module, str(fd)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**inherited, **ENVIRONMENT, **env},
            pass_fds=(fd,),
            start_new_session=True,
        )
    except OSError as error:
        raise HostError(f"{module} cannot be started: {error}") from error


async def _connected(
    ours: socket.socket, process: asyncio.subprocess.Process
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open our end; where that is cancelled the process must not stay behind."""
    try:
        return await asyncio.open_connection(sock=ours, limit=LINE_LIMIT)
    except BaseException:
        process.kill()
        await process.communicate()
        raise


async def _collect(stream: asyncio.StreamReader | None, kept: bytearray) -> None:
    """Read `stream` to its end and keep the last 4 kB."""
    while stream is not None and (part := await stream.read(STDERR_KEPT)):
        kept += part
        del kept[:-STDERR_KEPT]


# ── the child's end ─────────────────────────────────────────────────────────────────────────────
def die_with_parent() -> None:
    """Ask the kernel for a SIGKILL when the daemon dies, whatever this process is busy with then."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class SyncChannel(Generic[T]):
    """The synchronous end, for a process that has no event loop; to be used by one thread."""

    def __init__(self, fd: int, receives: object) -> None:
        self._socket = socket.socket(fileno=fd)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._pending = bytearray()
        self._gathered = bytearray()
        self._messages: _Reader[T] = _Reader(receives)

    @classmethod
    def inherited(cls, receives: object) -> SyncChannel[T]:
        """Take the socket that `spawn` has passed on, and die with the daemon from now on."""
        die_with_parent()
        return cls(int(sys.argv[1]), receives)

    def send(self, message: Message, payload: bytes = b"") -> None:
        """Send one message and the raw bytes that it announces; raise `EOFError` when the daemon is gone."""
        self.gather(message)
        self._gathered += payload
        self.flush()

    def gather(self, message: Message) -> None:
        """Keep one message until the next `send` or `flush`: to wake the daemon takes longer than to tell it something."""
        self._gathered += encode(message)

    def flush(self) -> None:
        """Send what was gathered; raise as `send`."""
        gathered, self._gathered = self._gathered, bytearray()
        try:
            self._socket.sendall(gathered)
        except OSError as error:
            raise EOFError("the daemon is gone") from error

    def receive(self, timeout: float | None = None) -> T | None:
        """Return the next message, None after `timeout` seconds without one (None waits for ever).

        Raises `EOFError` when the daemon has closed its end or is gone, `HostError` on a malformed line.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (line := self._line()) is None:
            if not self._wait(deadline):
                return None
            self._read()
        return self._messages.decode(line)

    def poll(self) -> T | None:
        """Return the next message if it is already here."""
        return self.receive(0)

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _line(self) -> bytearray | None:
        """Take the first whole line out of what has been read."""
        end = self._pending.find(b"\n")
        if end < 0:
            if len(self._pending) > LINE_LIMIT:
                raise HostError(f"a message longer than {LINE_LIMIT} bytes")
            return None
        line = self._pending[:end]
        del self._pending[: end + 1]
        return line

    def _wait(self, deadline: float | None) -> bool:
        """Wait until there is something to read; False when the deadline has passed first."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        return bool(self._poll.poll(left))

    def _read(self) -> None:
        try:
            part = self._socket.recv(1 << 16)
        except OSError as error:
            raise EOFError("the daemon is gone") from error
        if not part:
            raise EOFError("the daemon has closed the channel")
        self._pending += part
