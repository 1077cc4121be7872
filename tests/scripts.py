"""What the scripted broker does in each row of `fault_rows.SCRIPTS`, and what must be true afterwards."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from bridges import BASE, QUICK, bridged
from faults import becomes
from scripted import Script, Scripted, packet, scripted, text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bridges import Behind

NAMES = ["one.png", "two.png", "three.png"]
EVENT = f"{BASE}/event/sampleAccepted"
MAXIMUM_PACKET_SIZE, RECEIVE_MAXIMUM = 39, 33
PATIENCE = replace(QUICK, answer_s=1.0, retained_s=0.5)


def _publish(topic: str | bytes, mqtt5: bool, head: int = 0x30) -> bytes:  # noqa: FBT001 - which of the two
    return packet(head, text(topic) + (b"\0\1" if head & 6 else b"") + (b"\0" if mqtt5 else b"") + b"{}")


def _suback(mqtt5: bool) -> bytes:  # noqa: FBT001 - as above
    none = b"\0" if mqtt5 else b""
    return packet(0x90, b"\x12\x34" + none + b"\1") + packet(
        0xB0, b"\x12\x35" + none + (b"\0" if mqtt5 else b"")
    )


def _saying(nonsense: bytes) -> tuple[Script, ...]:
    return (Script(nonsense=nonsense),)


def _refusals(mqtt5: bool) -> tuple[Script, ...]:  # noqa: FBT001 - as above
    # 1 and 0x84 are left to the test of the fallback: they are an answer to the version.
    codes = sorted(set(range(0x80, 0xA0)) - {0x84}) if mqtt5 else range(2, 6)
    return tuple(Script(connack=code) for code in codes)


SCRIPTS: dict[str, Callable[[bool], tuple[Script, ...]]] = {
    "garbage": lambda _: _saying(b"\x00\xff\x13\x37" * 64),
    "behind": lambda mqtt5: (Script(answer=packet(0x20, b"\0\0" + (b"\0" if mqtt5 else b"")) + b"\x00\xff\x13\x37" * 8),) * 3,
    "http": lambda _: (Script(answer=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),) * 2,
    "short": lambda _: (Script(answer=b"\x20\x01\x00"),) * 2,
    "twice": lambda mqtt5: _saying(packet(0x20, b"\0\0" + (b"\0" if mqtt5 else b""))),
    "suback": lambda mqtt5: _saying(_suback(mqtt5)),
    "puback": lambda _: _saying(packet(0x40, b"\x77\x77") + packet(0x50, b"\x77\x78") + packet(0x70, b"\x77\x79")),
    "latin": lambda mqtt5: _saying(_publish(BASE.encode() + b"/request/\xff", mqtt5) + _publish(f"{BASE}/request/+", mqtt5)),
    "qos3": lambda mqtt5: _saying(_publish(f"{BASE}/request/train", mqtt5, 0x36)),
    "absurd": lambda _: _saying(b"\x30\xff\xff\xff\x7f"),
    "endless": lambda _: _saying(b"\x30\xff\xff\xff\xff\xff\x7f"),
    "levels": lambda mqtt5: _saying(_publish(f"{BASE}/request/" + "a/" * 30_000, mqtt5)),
    "hangs_up": lambda _: (Script(hangs_up=True),),
    "unheard": lambda mqtt5: (Script(suback=0x87 if mqtt5 else 0x80),) * 3,
    # The first publish is `online`, then the outcomes come.
    "quota": lambda _: (Script(puback=(0, 0x97, 0x97, 0x97)),),
    "unknown": lambda _: (Script(puback=(0, 0x9F, 0x9F, 0x9F)),),
    "nobody": lambda _: (Script(puback=(0x10,) * 10),),
    "small": lambda _: (Script(properties=struct.pack("!BI", MAXIMUM_PACKET_SIZE, 1000)),) * 9,
    "too_large": lambda _: (Script(most=1000),) * 9,
    "one_by_one": lambda _: (
        Script(properties=struct.pack("!BH", RECEIVE_MAXIMUM, 1), slow_s=0.01, nonsense=_publish(f"{BASE}/request/status", True) * 3),  # noqa: FBT003 - as above
    ),
    "refusals": _refusals,
    "farewells": lambda _: tuple(
        Script(nonsense=packet(0xE0, bytes([code]))) for code in (*range(0x80, 0xA3), 0x04, 0x00)
    ),
}  # fmt: skip
ONLY_MQTT_5 = frozenset(
    {"hangs_up", "quota", "unknown", "nobody", "small", "too_large", "one_by_one", "farewells"}
)
UNBROKEN = frozenset(
    {"twice", "suback", "puback", "latin", "levels", "quota", "unknown", "nobody", "small", "one_by_one"}
)
TOO_LARGE = frozenset({"small", "too_large"})


async def run(key: str, folder: Path, *, mqtt5: bool) -> None:
    """Play a script; assert what has to be true of every one of them."""
    names = [NAMES[0], "x" * 1000, NAMES[1], NAMES[2]] if key in TOO_LARGE else NAMES
    with capture_logs() as logs:
        async with scripted(*SCRIPTS[key](mqtt5), mqtt5=mqtt5) as (broker, address):
            async with bridged(address, folder, patience=PATIENCE) as behind:
                if key not in {"quota", "unknown"}:
                    await broker.until(f"{BASE}/availability")
                await behind.happen(*names)
                behind.outbox.state("state", b"{}")
                await _settled(broker, behind, names, len(SCRIPTS[key](mqtt5)) if key == "farewells" else 0)
                assert broker.retained == {f"{BASE}/availability": b"online", f"{BASE}/state": b"{}"}
            assert broker.retained[f"{BASE}/availability"] == b"offline"
    heard = [each.json["name"] for each in broker.published if each.topic == EVENT]
    assert list(dict.fromkeys(heard)) == NAMES
    assert broker.connections == 1 or key not in UNBROKEN
    assert broker.most_unacknowledged == 1 or key != "one_by_one"
    if key == "farewells":
        assert any("Session taken over" in entry.get("reason", "") for entry in logs)
    if key in TOO_LARGE:
        assert sum("no packet so large" in entry.get("reason", "") for entry in logs) == 1


async def _settled(broker: Scripted, behind: Behind, names: list[str], connections: int) -> None:
    async def settled() -> bool:
        there = f"{BASE}/state" in broker.retained and broker.connections >= connections
        return there and await behind.acknowledged() == len(names)

    await becomes(settled)
