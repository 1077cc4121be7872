from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from finetuned.errors import HostError
from finetuned.service.channel import LINE_LIMIT, Child, SyncChannel, spawn
from finetuned.service.messages import Cancel, Command, DecoderReply, Describe, Pace, Undecodable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def child() -> AsyncIterator[Child[DecoderReply]]:
    """Start the child of `channel_child.py`, and end it whatever happens."""
    started: Child[DecoderReply] = await spawn(
        "channel_child", DecoderReply, env={"PYTHONPATH": str(Path(__file__).parent)}
    )
    try:
        yield started
    finally:
        started.kill()
        await started.stop()


async def ask(started: Child[DecoderReply], wish: str) -> str:
    await started.channel.send(Describe(path=wish))
    reply = await started.channel.receive()
    assert isinstance(reply, Undecodable)
    return reply.reason


async def test_messages_travel_both_ways_in_order() -> None:
    async with child() as started:
        assert [await ask(started, f"echo {word}") for word in ("one", "zwei", "✊")] == ["one", "zwei", "✊"]


async def test_raw_bytes_follow_the_line_that_announces_them() -> None:
    async with child() as started:
        await started.channel.send(Describe(path="bytes 3000000"))
        await started.channel.receive()
        assert await started.channel.receive_bytes(3_000_000) == b"x" * 3_000_000
        assert await ask(started, "echo after") == "after"


@pytest.mark.parametrize("name", ["ORT_DISABLE_TELEMETRY", "OPENBLAS_NUM_THREADS"])
async def test_a_child_is_told_to_keep_quiet_and_to_one_thread(name: str) -> None:
    async with child() as started:
        assert await ask(started, f"environment {name}") == "1"


async def test_a_child_is_not_told_where_the_daemons_passwords_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/finetuned.service")
    async with child() as started:
        assert await ask(started, "environment CREDENTIALS_DIRECTORY") == ""


async def test_a_child_has_a_session_of_its_own_so_that_ctrl_c_passes_it_by() -> None:
    async with child() as started:
        assert await ask(started, "session") == str(started.process.pid)


async def test_a_dead_child_reads_as_the_end_and_its_last_words_are_kept() -> None:
    async with child() as started:
        await started.channel.send(Describe(path="die goodbye"))
        assert await started.channel.receive() is None
        assert await started.wait() == -signal.SIGKILL
        assert started.last_words.endswith("agoodbye")
        assert len(started.last_words) == 4096


async def test_raw_bytes_that_never_come_are_an_error() -> None:
    async with child() as started:
        await started.channel.send(Describe(path="die now"))
        with pytest.raises(HostError, match="died in the middle"):
            await started.channel.receive_bytes(10)


async def test_a_message_of_another_type_is_an_error_that_quotes_it() -> None:
    async with child() as started:
        await started.channel.send(Describe(path="other"))
        with pytest.raises(HostError, match=r"cannot be understood.*failed"):
            await started.channel.receive()


async def test_a_stopped_child_reads_the_end_of_its_input_and_leaves_by_itself() -> None:
    async with child() as started:
        assert await ask(started, "echo here") == "here"
        assert await started.stop() == 7, started.last_words


async def test_a_child_that_does_not_listen_is_killed_after_its_grace() -> None:
    async with child() as started:
        await started.channel.send(Describe(path="deaf"))
        assert await started.stop(grace_s=0.05) == -signal.SIGKILL


async def test_a_module_that_does_not_exist_leaves_its_error_as_last_words() -> None:
    started: Child[DecoderReply] = await spawn("no_such_module_anywhere", DecoderReply)
    assert await started.channel.receive() is None
    assert await started.stop() == 1
    assert "No module named no_such_module_anywhere" in started.last_words


def pair() -> tuple[SyncChannel[Command], socket.socket]:
    ours, theirs = socket.socketpair()
    return SyncChannel(ours.detach(), Command), theirs


def test_poll_returns_what_is_here_and_nothing_else() -> None:
    channel, other = pair()
    with other, contextlib.closing(channel):
        assert channel.poll() is None
        other.sendall(b'{"type":"pace","duty":0.5}\n{"type":"canc')
        assert channel.poll() == Pace(duty=0.5)
        assert channel.poll() is None
        other.sendall(b'el"}\n')
        assert channel.receive(timeout=60) == Cancel()


def test_what_was_gathered_goes_before_what_is_sent() -> None:
    channel, other = pair()
    with other, contextlib.closing(channel):
        channel.gather(Cancel())
        assert not select.select([other], [], [], 0)[0]
        channel.send(Pace(duty=0.5))
        assert other.recv(1000) == b'{"type":"cancel"}\n{"type":"pace","duty":0.5}\n'


def test_a_child_notices_that_the_daemon_has_closed() -> None:
    channel, other = pair()
    other.close()
    with contextlib.closing(channel):
        with pytest.raises(EOFError):
            channel.receive()
        with pytest.raises(EOFError):
            channel.send(Cancel())


@pytest.mark.parametrize("line", [b"{}", b"[1]", b'{"type":"pace","duty":"fast"}', b"\xff\xfe", b"[" * 5000])
def test_a_malformed_line_is_an_error(line: bytes) -> None:
    channel, other = pair()
    with other, contextlib.closing(channel):
        other.sendall(line + b"\n")
        with pytest.raises(HostError, match="cannot be understood"):
            channel.poll()


def test_a_line_beyond_the_limit_is_an_error_on_both_sides() -> None:
    channel, other = pair()
    with other, contextlib.closing(channel):
        with pytest.raises(HostError, match="are allowed"):
            channel.send(Describe(path="x" * LINE_LIMIT))
        if os.fork() == 0:
            with contextlib.suppress(OSError):
                other.sendall(b"x" * (LINE_LIMIT + 2))
            os._exit(0)
        with pytest.raises(HostError, match="longer than"):
            channel.receive(timeout=60)
    os.wait()
