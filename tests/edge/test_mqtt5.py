"""What MQTT 5 says besides a message, and where it lets a request be answered."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiomqtt import ProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridges import BASE, DEADLINE_S, batch, bridged, epoch, subscribed
from brokers import client, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiomqtt

    from finetuned.edge.broker import Address

ORDINARY = f"{BASE}/response/status"


@asynccontextmanager
async def listener(address: Address) -> AsyncIterator[aiomqtt.Client]:
    """Somebody who hears everything on the broker, in MQTT 5."""
    async with client(address, protocol=ProtocolVersion.V5) as connection:
        await connection.subscribe("#", qos=1)
        yield connection


async def hear(connection: aiomqtt.Client, topic: str) -> aiomqtt.Message:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            message = await anext(connection.messages)
            if str(message.topic) == topic and message.payload:
                return message


def told(message: aiomqtt.Message) -> tuple[str, int, int | None]:
    """Content type, payload format and expiry of a message."""
    found = message.properties
    known = found.json()  # type: ignore[union-attr]  # paho's only untyped class
    return known["ContentType"], known["PayloadFormatIndicator"], known.get("MessageExpiryInterval")


def asking(topic: str | None = None, correlation: bytes | None = None) -> Properties:
    found = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's only untyped class
    if topic is not None:
        found.ResponseTopic = topic
    if correlation is not None:
        found.CorrelationData = correlation
    return found


def correlation(message: aiomqtt.Message) -> bytes | None:
    return getattr(message.properties, "CorrelationData", None)


async def test_every_message_says_what_it_is_and_progress_how_long_it_is_worth_sending(
    tmp_path: Path,
) -> None:
    async with (
        running("mosquitto", tmp_path) as broker,
        listener(broker.address) as ear,
        bridged(broker.address, tmp_path) as behind,
    ):
        assert told(await hear(ear, f"{BASE}/availability")) == ("text/plain", 1, None)
        behind.outbox.state("state", b"{}")
        assert told(await hear(ear, f"{BASE}/state")) == ("application/json", 1, None)
        behind.outbox.progress(batch(1))
        assert told(await hear(ear, f"{BASE}/event/miniBatchEnd")) == ("application/json", 1, 10)
        behind.outbox.progress(epoch(1))
        assert told(await hear(ear, f"{BASE}/event/epochEnd")) == ("application/json", 1, 60)
        await behind.happen("one.png")
        outcome = await hear(ear, f"{BASE}/event/sampleAccepted")
        assert told(outcome) == ("application/json", 1, None)


async def test_an_answer_comes_where_it_was_asked_for_with_what_belongs_to_the_question(
    tmp_path: Path,
) -> None:
    async with (
        running("mosquitto", tmp_path) as broker,
        subscribed(broker.address) as subscriber,
        bridged(broker.address, tmp_path),
        listener(broker.address) as ear,
    ):
        await subscriber.online()
        mine = f"{BASE}/response/status/mine"
        for asked, topic, mark in (mine, mine, b"\x00\xff"), (None, ORDINARY, b"1"):
            request = json.dumps({"transaction": topic}).encode()
            await ear.publish(f"{BASE}/request/status", request, qos=1, properties=asking(asked, mark))
            answer = await hear(ear, topic)
            assert correlation(answer) == mark
            assert json.loads(answer.payload)["status"] == "ok"


@pytest.mark.parametrize(
    "topic",
    [
        "elsewhere",
        "finetuned/other/response/status",
        f"{BASE}/availability",
        f"{BASE}/response/",
        f"{BASE}/request/cancel",
        f"{BASE}/response/{'x' * 512}",
        f"{BASE}/response/\u202e",
    ],
)  # fmt: skip
async def test_nobody_makes_the_daemon_publish_elsewhere(tmp_path: Path, topic: str) -> None:
    async with (
        running("mosquitto", tmp_path) as broker,
        subscribed(broker.address) as subscriber,
        bridged(broker.address, tmp_path) as behind,
        listener(broker.address) as ear,
    ):
        await subscriber.online()
        request = b'{"transaction": "a"}'
        await ear.publish(f"{BASE}/request/status", request, qos=1, properties=asking(topic, b"c"))
        answer = await hear(ear, ORDINARY)
        error: dict[str, Any] = json.loads(answer.payload)
        assert error["error"].startswith(f"the response topic must be below {BASE}/response/")
        assert correlation(answer) == b"c"
        assert behind.calls == []
        await subscriber.hear("response/status")
        # It was not remembered either: asked properly, it is obeyed.
        assert (await subscriber.ask("status", request))["status"] == "ok"


async def test_user_properties_of_a_request_are_ignored(tmp_path: Path) -> None:
    async with (
        running("mosquitto", tmp_path) as broker,
        subscribed(broker.address) as subscriber,
        bridged(broker.address, tmp_path),
        listener(broker.address) as ear,
    ):
        await subscriber.online()
        properties = asking()
        properties.UserProperty = [("transaction", "other"), ("x", "y" * 1000)]
        request = b'{"transaction": "a"}'
        await ear.publish(f"{BASE}/request/status", request, qos=1, properties=properties)
        answer = await hear(ear, ORDINARY)
        assert json.loads(answer.payload)["transaction"] == "a"
        assert not hasattr(answer.properties, "UserProperty")
