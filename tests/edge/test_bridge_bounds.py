"""What anybody on the broker can do to the daemon is bounded: memory, requests that wait, connections that are left."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bridges import BASE, DEADLINE_S, bridged, retained, subscribed
from brokers import client, running
from finetuned.edge.connection import Connection, connected
from finetuned.edge.embedded import MAX_RETAINED_BYTES
from finetuned.edge.mqtt import MAX_REQUESTS
from finetuned.edge.wire import MAX_PACKET_BYTES, MAX_WAITING_BYTES, MESSAGE_BYTES
from scripted import packet, scripted, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HUGE = 200 << 20
CHUNK = bytes(64 * 1024)
REQUEST = f"{BASE}/request/train"


@contextmanager
def within(most: int) -> Iterator[None]:
    """Python holds no more than so many bytes more, at any moment."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def huge_publish(mid: int) -> Iterator[bytes]:
    """The bytes of a request of 200 MiB, with QoS 1."""
    whole = packet(0x32, text(REQUEST) + mid.to_bytes(2) + bytes(HUGE))
    head = whole[: len(whole) - HUGE]
    yield head
    yield from (CHUNK for _ in range(HUGE // len(CHUNK)))


async def test_a_request_of_200_mb_is_refused_and_never_held(tmp_path: Path) -> None:
    chunks = huge_publish(7)
    first = next(chunks)
    async with scripted(mqtt5=False) as (broker, address), bridged(address, tmp_path) as behind:
        await behind.happen("zero.png")
        await broker.until(f"{BASE}/event/sampleAccepted")
        await (
            behind.outbox.drained()
        )  # so that the broker's acknowledgement does not come in the middle of it
        broker.published.clear()
        with within(8 << 20):
            broker.say(first)
            assert broker.writer
            for chunk in chunks:
                broker.writer.write(chunk)
                await broker.writer.drain()
            answer = await broker.until(f"{BASE}/response/train")
        assert "are too many (allowed: up to 65536)" in answer.json["error"]
        await behind.happen("one.png")
        await broker.until(f"{BASE}/event/sampleAccepted")
        assert broker.connections == 1


async def test_the_embedded_broker_ends_the_connection_of_a_huge_packet_and_no_other(tmp_path: Path) -> None:
    chunks = list(huge_publish(7))
    async with running("embedded", tmp_path) as broker, subscribed(broker.address) as subscriber:
        address = broker.address
        reader, writer = await asyncio.open_connection(address.host, address.port)
        flags = text("MQTT") + b"\x04\xc2\x00\x1e"
        writer.write(packet(0x10, flags + text("x") + text(address.username) + text(address.password)))
        assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
        with within(8 << 20):
            with suppress(OSError):
                for chunk in chunks:
                    writer.write(chunk)
                    await writer.drain()
            async with asyncio.timeout(DEADLINE_S):
                with suppress(OSError):
                    assert await reader.read() == b""
            writer.close()
        await subscriber.client.publish(f"{BASE}/x", b"alive", qos=1)
        assert (await subscriber.hear()).payload == b"alive"


async def test_requests_above_what_may_wait_are_dropped_and_told_of_once(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    served: list[Any] = []

    async def slow(_verb: str, body: dict[str, Any]) -> None:
        served.append(body["n"])
        await go_on.wait()

    with capture_logs() as logs:
        async with (
            scripted() as (broker, address),
            bridged(address, tmp_path, handler=slow, clock=lambda: 0.0, rest=_no_rest) as behind,
        ):
            await broker.until(f"{BASE}/availability")
            for number in range(300):
                request = b'{"transaction": "%d", "n": %d}' % (number, number)
                broker.say(packet(0x30, text(REQUEST) + b"\0" + request))
            # Nothing else waits behind them: neither what goes out, nor the will of a dead connection.
            broker.say(packet(0x30, text(f"{BASE}/availability") + b"\0offline"))
            broker.published.clear()
            await broker.until(f"{BASE}/availability", b"online")
            await behind.happen("one.png")
            await broker.until(f"{BASE}/event/sampleAccepted")
            assert served == [0]
            go_on.set()
    told = [entry["reason"] for entry in logs if "flood" in entry.get("reason", "")]
    assert told == [f"a flood of requests: more than {MAX_REQUESTS} wait, the others are dropped"]


async def _no_rest(_delay: float) -> None:
    await asyncio.sleep(0)


async def test_messages_that_nobody_reads_are_held_up_to_a_bound() -> None:
    payload = bytes(100_000)
    with capture_logs() as logs:
        async with scripted() as (broker, address), connected(address, "x") as connection:
            for _ in range(200):
                broker.say(packet(0x30, text("t") + b"\0" + payload))
            broker.say(packet(0x30, text("t") + b"\0" + bytes(MAX_PACKET_BYTES)))
            await connection.listen("done")  # its answer comes behind all of them
            assert len(connection.messages) == 1 + MAX_WAITING_BYTES // (len(payload) + MESSAGE_BYTES + 1)
    assert [entry["event"] for entry in logs] == ["more comes in than can be heard; some of it is dropped"]


async def test_who_gives_up_while_a_connection_is_made_leaves_none_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread that connects cannot be stopped; what it has made is closed when it has."""
    begun, go_on = threading.Event(), threading.Event()
    connect = Connection._client_connect  # noqa: SLF001 - what runs in the thread

    def slowly(self: Connection) -> None:
        begun.set()
        go_on.wait(DEADLINE_S)
        connect(self)

    monkeypatch.setattr(Connection, "_client_connect", slowly)
    async with scripted() as (broker, address):
        entering = asyncio.create_task(connected(address, "x").__aenter__())
        await asyncio.to_thread(begun.wait, DEADLINE_S)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        go_on.set()
        async with asyncio.timeout(DEADLINE_S):
            await broker.left.wait()
        assert broker.connections == 1


async def test_the_embedded_broker_retains_up_to_a_bound_and_can_still_be_cleared(tmp_path: Path) -> None:
    async with running("embedded", tmp_path) as broker, client(broker.address) as other:
        payload = bytes(MAX_RETAINED_BYTES // 20)
        for number in range(25):
            await other.publish(f"{BASE}/{number}", payload, qos=1, retain=True)
        assert len(await retained(broker.address)) == 19
        await other.publish(f"{BASE}/0", b"", qos=1, retain=True)
        await other.publish(f"{BASE}/24", payload, qos=1, retain=True)
        found = await retained(broker.address)
    assert ("0" in found, "24" in found, len(found)) == (False, True, 19)


async def test_what_a_stranger_writes_beside_a_message_is_not_held() -> None:
    pair = b"\x26" + text("x" * 30_000) + text("y" * 30_000)
    async with scripted() as (broker, address), connected(address, "x") as connection:
        broker.say(packet(0x30, text("t") + packet(0, pair * 10)[1:] + b"payload"))
        async with asyncio.timeout(DEADLINE_S):
            message = await anext(connection.messages)
    assert message.payload == b"payload"
    assert not hasattr(message.properties, "UserProperty")
