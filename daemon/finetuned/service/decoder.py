"""The decoder: a fenced process of its own, the only one that ever opens a stranger's file.

Below, first the daemon's side (`Decoders`), then the process (`python -m finetuned.service.decoder`).  The process
fences itself before it imports anything that parses: no new privileges, limits on memory, CPU time, files and core
dumps, nothing written.  A sample that kills it, or keeps it busy for too long, is undecodable; the next one gets a
fresh process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import os
import resource
import signal
import stat
import sys
import time
from pathlib import PurePath
from typing import TYPE_CHECKING, Self

import msgspec

from finetuned.errors import HostError, SampleError
from finetuned.service import plugins
from finetuned.service.channel import Child, SyncChannel, spawn
from finetuned.service.messages import Decode, Decoded, DecoderReply, Undecodable, Value

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from finetuned.service.messages import InputSpec
    from finetuned.service.plugins import Decoder

MODULE = "finetuned.service.decoder"
LIMITS = "FINETUNED_DECODER_LIMITS"  # the environment variable that carries them
OPEN_FILES = 64
MAX_REASON = 300  # characters
NICE = 10
PR_SET_NO_NEW_PRIVS = 38


class Limits(Value, frozen=True, kw_only=True):
    """The fence: sizes in bytes, times in seconds (`timeout_s` per file, of the clock and of the CPU)."""

    file_bytes: int = 64 * 2**20
    memory_bytes: int = 2**30
    timeout_s: float = 20.0
    idle_s: float = 30.0


def size_of(want: InputSpec) -> int:
    """Return how many bytes `want` decodes to."""
    return math.prod(want.shape) * (1 if want.color else 4)


# ── the daemon's side ───────────────────────────────────────────────────────────────────────────
class Decoders:
    """One decoder process, started on demand, ended when idle; many may ask at once, each in turn is served."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - a frozen value
        self._limits = limits
        self._child: Child[DecoderReply] | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Nothing is started yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, if there is one."""
        async with self._turn:
            self._stay()
            await self._stop()

    @property
    def pid(self) -> int | None:
        """The process that is there now, if any."""
        return self._child.process.pid if self._child else None

    async def decode(self, path: Path, name: str, want: InputSpec) -> bytes | Undecodable:
        """Decode the file at `path` (a private copy, called `name` by its owner) into `want`.

        Returns the raw array, or why there is none.  Raises `HostError` when no decoder process can be had at all:
        that is not the sample's fault.
        """
        async with self._turn:
            self._stay()
            try:
                return await self._decode(Decode(path=str(path), name=name, want=want))
            except BaseException:  # an answer may be half read: this process cannot be asked again
                await self._stop(grace_s=0)
                raise
            finally:
                self._idle = asyncio.create_task(self._leave(), name="decoder idle")

    async def _decode(self, request: Decode) -> bytes | Undecodable:
        """Ask; where the process dies, ask another once: it may have been killed for no fault of the sample."""
        try:
            return await self._attempt(request)
        except _Died:
            pass
        try:
            return await self._attempt(request)
        except _Died as died:
            return self._epitaph(died)

    async def _attempt(self, request: Decode) -> bytes | Undecodable:
        """Ask the process, or a new one; raise `_Died` when it dies of it."""
        if self._child is None:
            self._child = await spawn(
                MODULE, DecoderReply, env={LIMITS: msgspec.json.encode(self._limits).decode()}
            )
        child = self._child
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await _ask(child, request)
        except TimeoutError:
            await self._stop(grace_s=0)
            return Undecodable(reason=f"decoding took longer than {self._limits.timeout_s:g} s")
        except HostError as error:
            raise _Died(await self._stop(), child.last_words) from error

    def _epitaph(self, died: _Died) -> Undecodable:
        """Say how it died; one that leaves by itself (a broken installation) is no sample's fault."""
        if died.status >= 0:
            last = died.last_words.rpartition("\n")[2]
            raise HostError(f"the decoder process ended with status {died.status}: {last}")
        if -died.status == signal.SIGXCPU:
            return Undecodable(reason=f"decoding took more than {self._limits.timeout_s:g} s of CPU time")
        return Undecodable(reason=f"the decoder process died of it ({signal.Signals(-died.status).name})")

    async def _leave(self) -> None:
        """End the process when nobody has asked for a while."""
        await asyncio.sleep(self._limits.idle_s)
        async with self._turn:
            await self._stop()

    def _stay(self) -> None:
        """Take back `_leave`; whoever has the turn knows that it is not under way."""
        if self._idle:
            self._idle.cancel()
            self._idle = None

    async def _stop(self, grace_s: float = 2.0) -> int:
        """End the process, if there is one; return its exit status."""
        child, self._child = self._child, None
        return await child.stop(grace_s) if child else 0


class _Died(Exception):  # noqa: N818 - it never leaves this module
    """The process ended with `status` (negative: by that signal) in the middle of a request."""

    def __init__(self, status: int, last_words: str) -> None:
        super().__init__(status)
        self.status = status
        self.last_words = last_words


async def _ask(child: Child[DecoderReply], request: Decode) -> bytes | Undecodable:
    """Send `request`, return the answer; `HostError` when the process dies, or talks nonsense and is killed for it."""
    await child.channel.send(request)
    try:
        reply = await child.channel.receive()
    except HostError:
        child.kill()
        raise
    if reply is None:
        raise HostError("the decoder process is gone")
    if isinstance(reply, Undecodable):
        return reply
    if reply.size != size_of(request.want):
        child.kill()
        raise HostError(f"the decoder process announced {reply.size} bytes, not {size_of(request.want)}")
    return await child.channel.receive_bytes(reply.size)


# ── the process ─────────────────────────────────────────────────────────────────────────────────
def main() -> None:
    """Fence this process, load the decoders, answer until the daemon is gone."""
    channel: SyncChannel[Decode] = SyncChannel.inherited(Decode)
    limits = msgspec.json.decode(os.environ[LIMITS], type=Limits)
    fence(limits)
    decoders = _loaded()
    with contextlib.suppress(EOFError):
        while request := channel.receive():
            allow_cpu(limits.timeout_s)
            channel.send(*answer(request, decoders, limits))


def _loaded() -> list[Decoder]:
    """Load the decoders; without any the process leaves, so that no sample is blamed for it."""
    found = plugins.load()
    if decoders := found.decoders():
        return decoders
    sys.exit("; ".join(map(str, found.errors)) or "no plugin brings a decoder")


def fence(limits: Limits) -> None:
    """Give up what decoding does not need; none of it can be undone by this process."""
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.nice(NICE)
    hard = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in hard.items():
        resource.setrlimit(kind, (value, value))


def allow_cpu(seconds: float) -> None:
    """Let SIGXCPU end this process after so many more seconds of CPU time."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), hard))


def answer(
    request: Decode, decoders: Sequence[Decoder], limits: Limits
) -> tuple[Decoded | Undecodable, bytes]:
    """Decode one file; whatever is wrong with it becomes a sentence for a person."""
    try:
        raw = decoded(read(request.path, limits.file_bytes), request, decoders)
    except SampleError as error:
        return Undecodable(reason=" ".join(str(error).split())[:MAX_REASON]), b""
    except OSError as error:  # with the path of our private copy
        return Undecodable(reason=error.strerror or "it cannot be read"), b""
    return Decoded(size=len(raw)), raw


def read(path: str, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; no link is followed, no pipe waited for."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 - pathlib opens no descriptors
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise SampleError("not a regular file")
        if found.st_size > limit:
            raise SampleError(f"larger than {limit / 2**20:g} MiB")
        return file.read(found.st_size)


def decoded(data: bytes, request: Decode, decoders: Sequence[Decoder]) -> bytes:
    """Let the decoders of the file's suffix try, then the others, who may know its content."""
    suffix = PurePath(request.name).suffix.lower()
    complaints: list[SampleError] = []
    for decoder in sorted(decoders, key=lambda decoder: suffix not in decoder.suffixes):
        try:
            return attempt(decoder, data, request.want)
        except SampleError as error:
            complaints.append(error)
    known = sorted(set[str]().union(*(decoder.suffixes for decoder in decoders)))
    if suffix in known:
        raise complaints[0]
    raise SampleError(f"not a file that any decoder knows; they know {' '.join(known)}")


def attempt(decoder: Decoder, data: bytes, want: InputSpec) -> bytes:
    """Call a decoder; whatever it raises becomes a `SampleError`, except for what only a broken installation does."""
    try:
        raw = decoder.decode(data, want)
        if len(raw) != size_of(want):
            said = f"returned {len(raw)} bytes, {size_of(want)} are wanted"
            raise SampleError(f"the decoder {decoder.name} failed: it {said}")  # noqa: TRY301 - told like all
    except (SampleError, ImportError):
        raise
    except MemoryError:
        raise SampleError("decoding needs more memory than the decoder may use") from None
    except RecursionError:
        raise SampleError("the file is nested too deeply") from None
    except Exception as error:
        # What it says may repeat what is in the file.
        raise SampleError(f"the decoder {decoder.name} failed ({type(error).__name__})") from error
    return raw


if __name__ == "__main__":
    main()
