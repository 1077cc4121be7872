"""What is said of a broker that lacks something, and of another daemon with our name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiomqtt
import pytest
from structlog.testing import capture_logs

from bridges import BASE, bridged, subscribed
from brokers import running
from faults import becomes
from finetuned.edge.connection import connected
from scripted import Script, scripted

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import EventDict

WILL = aiomqtt.Will("finetuned/n/availability", "offline", qos=1, retain=True)


@pytest.mark.parametrize(
    ("setting", "lacks"), [("retain_available false", "retained messages"), ("max_qos 0", "QoS 1")]
)
async def test_what_a_broker_lacks_that_the_daemon_needs_is_named(
    tmp_path: Path, setting: str, lacks: str
) -> None:
    async with running("mosquitto", tmp_path, settings=(setting,)) as broker:
        with pytest.raises(aiomqtt.MqttError, match=f"not supported: it must allow {lacks}, which the"):
            async with connected(broker.address, "x", will=WILL):
                pass


async def test_a_refusal_in_mqtt_5_is_not_asked_for_again_in_3_1_1() -> None:
    async with scripted(Script(connack=0x8A)) as (broker, address):
        with pytest.raises(aiomqtt.MqttError, match="Banned"):
            async with connected(address, "x"):
                pass
        assert broker.connections == 1


async def test_two_daemons_with_one_name_are_told_so_and_one_is_not(tmp_path: Path) -> None:
    """An echo of our own, and a last will that is set right, are no other daemon."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()

    async def told() -> bool:
        return bool(reasons(logs))

    with capture_logs() as logs:
        async with (
            running("mosquitto", tmp_path) as broker,
            subscribed(broker.address) as subscriber,
            bridged(broker.address, folders[0]),
        ):
            await subscriber.online()
            for _ in range(3):
                await subscriber.client.publish(f"{BASE}/availability", b"offline", qos=1, retain=True)
                await subscriber.online()
            assert reasons(logs) == []
            async with bridged(broker.address, folders[1]):
                await subscriber.online()
                await becomes(told)
    assert all("another daemon says that it is n" in reason for reason in reasons(logs))


def reasons(logs: list[EventDict]) -> list[str]:
    return [entry["reason"] for entry in logs if "reason" in entry]
