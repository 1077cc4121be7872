"""What a connection says of a broker that it cannot be made to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiomqtt
import pytest

from brokers import running
from finetuned.edge.connection import connected
from scripted import Script, scripted

if TYPE_CHECKING:
    from pathlib import Path

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
