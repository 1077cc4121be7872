"""Announcements on a real broker: one that hangs up at them, one that refuses them, and what of them is retained in the end."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import TYPE_CHECKING

import msgspec
import pytest
from structlog.testing import capture_logs

from announcements import Clock, announcer, daemon_state, model_state
from bridges import BASE, DEADLINE_S, bridged, retained, subscribed
from brokers import MOSQUITTO, Mosquitto, client, running
from faults import becomes
from finetuned.edge.disclosure import Disclosure
from finetuned.edge.homeassistant.announcer import SETTLED_S, Withdrawal
from finetuned.edge.topics import Topics
from finetuned.edge.voice import REMIND_S
from scripted import Script, scripted
from scripts import MAXIMUM_PACKET_SIZE, PATIENCE
from shared import missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bridges import Behind
    from finetuned.edge.broker import Address

CONFIG = "homeassistant/device/n/config"
MODELS = {"model/hands": model_state(), "model/hands/anna": model_state(user="anna")}
LIMIT, LASTING = 9000, 3
"""What a broker takes, and which connection to it lasts."""


def show(behind: Behind, models: Mapping[str, object]) -> None:
    """Show the daemon's state and those of models."""
    for key, state in {"state": daemon_state(), **models}.items():
        behind.outbox.state(key, msgspec.json.encode(state))


async def shortly(_delay: float) -> None:
    """Rest."""
    await asyncio.sleep(0.01)


async def config(address: Address) -> bytes:
    """Return what is retained of the announcement."""
    async with subscribed(address, CONFIG, "end") as subscriber:
        await subscriber.client.publish("end", b"", qos=1)
        heard = await subscriber.hear()
        return heard.payload if heard.topic == CONFIG else b""


def troubles(logs: Sequence[Mapping[str, object]]) -> list[str]:
    """Return what was logged of announcements that are too large, or at which the broker hangs up."""
    reasons = [str(entry.get("reason", "")) for entry in logs]
    return [each for each in reasons if "too large" in each or "hangs up at" in each]


async def test_a_mosquitto_for_which_the_announcement_is_too_large_is_told_all_the_rest(
    tmp_path: Path,
) -> None:
    if MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    broker = Mosquitto(folder=tmp_path)
    with (tmp_path / "mosquitto.conf").open("a") as written:
        written.write(f"message_size_limit {LIMIT}\n")
    await broker.start()
    try:
        with capture_logs() as logs:
            async with (
                subscribed(broker.address) as subscriber,
                bridged(broker.address, tmp_path, announcers=(announcer(node="n"),)) as behind,
            ):

                async def told() -> bool:
                    return bool(troubles(logs))

                show(behind, {"model/hands": model_state()})
                await becomes(told)
                await behind.happen("one.png", "two.png")
                assert await subscriber.hear_names("two.png") == ["one.png", "two.png"]
    finally:
        await broker.kill()
    assert len(troubles(logs)) == 1


@pytest.mark.parametrize("mqtt5", [True, False])
async def test_a_broker_that_says_so_or_nothing_when_it_hangs_up_is_told_all_the_rest(
    tmp_path: Path, *, mqtt5: bool
) -> None:
    with capture_logs() as logs:
        async with (
            scripted(*(Script(most=LIMIT),) * 9, mqtt5=mqtt5) as (broker, address),
            bridged(address, tmp_path, patience=PATIENCE, announcers=(announcer(node="n"),)) as behind,
        ):
            show(behind, {"model/hands": model_state()})

            async def told() -> bool:
                return any(
                    "hangs up at the announcement for Home Assistant (1" in each for each in troubles(logs)
                )

            await becomes(told)
            await behind.happen("one.png")
            await broker.until(f"{BASE}/event/sampleAccepted")
            assert broker.connections == LASTING


async def test_a_broker_that_says_how_much_it_takes_is_not_taken_for_one_that_hangs_up(
    tmp_path: Path,
) -> None:
    small = Script(properties=struct.pack("!BI", MAXIMUM_PACKET_SIZE, LIMIT))
    with capture_logs() as logs:
        async with (
            scripted(*(small,) * 9, mqtt5=True) as (broker, address),
            bridged(address, tmp_path, patience=PATIENCE, announcers=(announcer(node="n"),)) as behind,
        ):
            for number in range(3):
                show(behind, {"model/hands": model_state(current=number)})
                await broker.until(f"{BASE}/model/hands/state", behind.outbox.states["model/hands"])
                await behind.outbox.drained()
                assert broker.writer
                broker.left.clear()
                broker.writer.close()
                await broker.left.wait()
    reasons = [entry.get("reason", "") for entry in logs]
    assert [each for each in reasons if "takes no packet so large" in each]
    assert not [each for each in reasons if "hangs up at" in each]


async def test_states_are_told_before_what_is_announced_of_them(tmp_path: Path) -> None:
    async with (
        running("mosquitto", tmp_path) as broker,
        subscribed(broker.address, f"{BASE}/#", CONFIG) as subscriber,
        bridged(broker.address, tmp_path, announcers=(announcer(node="n"),)) as behind,
    ):
        show(behind, MODELS)
        topics = [(await subscriber.hear()).topic]
        while topics[-1] != CONFIG:
            topics.append((await subscriber.hear()).topic)
    assert {"state", "model/hands/state", "model/hands/anna/state"} <= set(topics)


async def test_an_announcement_that_is_refused_is_offered_again(tmp_path: Path) -> None:
    allowed, refused = (f"topic readwrite {BASE}/#", "topic read homeassistant/#"), asyncio.Event()

    async def rest(delay: float) -> None:
        if delay < REMIND_S:
            refused.set()
        await asyncio.sleep(min(delay, 0.05))

    async with (
        running("mosquitto", tmp_path, allowed) as broker,
        bridged(broker.address, tmp_path, rest=rest, announcers=(announcer(node="n"),)) as behind,
        client(broker.address) as listener,
    ):
        show(behind, {"model/hands": model_state()})
        await listener.subscribe(CONFIG, qos=1)
        async with asyncio.timeout(DEADLINE_S):
            await refused.wait()
            acl = ["user finetuned", *allowed, f"topic readwrite {CONFIG}", ""]
            (tmp_path / "acl").write_text("\n".join(acl))
            broker.reload()
            assert b"hands" in (await anext(listener.messages)).payload


@pytest.mark.parametrize("level", ["counts", "none"])
async def test_less_is_disclosed_than_before_and_no_user_s_name_is_retained_in_the_end(
    level: str, tmp_path: Path
) -> None:
    async with running("mosquitto", tmp_path) as broker:
        async with (
            subscribed(broker.address, CONFIG) as subscriber,
            bridged(broker.address, tmp_path, announcers=(announcer(node="n"),)) as behind,
        ):
            show(behind, MODELS)
            await subscriber.hear(CONFIG)
        assert b"anna" in await config(broker.address)
        told: list[bytes] = []
        ours = announcer(node="n", clock=Clock(step=SETTLED_S))
        async with (
            subscribed(broker.address, CONFIG) as subscriber,
            bridged(
                broker.address,
                tmp_path,
                rest=shortly,
                disclosure=Disclosure(level=level, key=b"k" * 32),
                announcers=(ours,),
            ) as behind,
        ):
            show(behind, MODELS)
            assert b"anna" in (await subscriber.hear()).payload
            while not told or b"anna" in told[-1]:
                told.append((await subscriber.hear()).payload)
        assert json.loads(told[0])["components"]["hands__anna__train"] == {"platform": "button"}
        assert "hands__train" in json.loads(await config(broker.address))["components"]
        assert b"anna" not in await config(broker.address)
        assert not [topic for topic in await retained(broker.address) if "anna" in topic]


async def test_what_was_announced_is_withdrawn_when_it_is_not_wanted_any_more(tmp_path: Path) -> None:
    async with running("mosquitto", tmp_path) as broker, client(broker.address) as earlier:
        (notice,) = announcer(node="n").due(
            {"state": msgspec.json.encode(daemon_state()), "model/hands": msgspec.json.encode(model_state())}
        )
        await earlier.publish(CONFIG, notice.payload, qos=1, retain=True)
        withdrawal = Withdrawal(Topics("finetuned", "n"), "homeassistant")
        async with (
            subscribed(broker.address, CONFIG) as subscriber,
            bridged(broker.address, tmp_path, announcers=(withdrawal,)),
        ):
            await subscriber.hear(payload=notice.payload)
            await subscriber.hear(payload=b"")
        assert await config(broker.address) == b""
