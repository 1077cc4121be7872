"""Who speaks through the bridge besides the outbox, and what of all that is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from bridges import BASE, bridged, epoch, retained, subscribed
from brokers import client, running
from finetuned.edge.announcing import Notice
from finetuned.edge.disclosure import Disclosure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ELSEWHERE = "homeassistant/device/n/config"


@dataclass(kw_only=True)
class Herald:
    """Announces the names of the states whenever they have changed, and again when it is asked to."""

    filters: tuple[str, ...] = ("homeassistant/status", ELSEWHERE)
    begun: int = 0
    heard: list[tuple[str, bytes, bool]] = field(default_factory=list)
    said: bytes | None = None

    def begin(self) -> None:
        """Begin anew."""
        self.begun += 1
        self.said = None

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Keep it."""
        self.heard.append((topic, payload, retained))
        if payload == b"online":
            self.said = None

    def due(self, states: Mapping[str, bytes]) -> tuple[Notice, ...]:
        """Say what there is."""
        now = " ".join(sorted(states)).encode()
        if now == self.said:
            return ()
        self.said = now
        return (Notice(topic=ELSEWHERE, payload=now),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shy(Disclosure):
    """Tells nothing of anna, and of ben under another name."""

    def event(self, payload: dict[str, Any]) -> dict[str, Any] | None:
        """Tell it but anna's and the first step."""
        return (
            None if payload.get("name") == "anna.png" or payload.get("step") == 1 else payload | {"told": 1}
        )

    def state(self, key: str, payload: bytes) -> tuple[str, bytes] | None:
        """Tell it but anna's."""
        return None if "anna" in key else (key.replace("ben", "b"), payload)

    def answer(self, data: Any) -> Any:  # noqa: ANN401 - JSON
        """Put it into a box."""
        return {"told": data}

    def error(self, sentence: str) -> str:
        """Tell the first word."""
        return f"told: {sentence.partition(' ')[0]}"


async def test_an_announcer_reads_back_speaks_and_answers_what_it_hears(tmp_path: Path) -> None:
    herald = Herald()
    async with running("mosquitto", tmp_path) as broker:
        async with client(broker.address) as earlier:
            await earlier.publish(ELSEWHERE, b"old", qos=1, retain=True)
        async with (
            subscribed(broker.address, "homeassistant/#", f"{BASE}/#") as subscriber,
            bridged(broker.address, tmp_path, announcers=(herald,)) as behind,
        ):
            await subscriber.online()
            await subscriber.hear(ELSEWHERE, payload=b"")
            assert herald.heard[0] == (ELSEWHERE, b"old", True)
            behind.outbox.state("state", b"{}")
            behind.outbox.state("model/hands", b"{}")
            await subscriber.hear(ELSEWHERE, payload=b"model/hands state")
            await subscriber.client.publish("homeassistant/status", b"online", qos=1)
            again = await subscriber.hear(ELSEWHERE)
            assert again.payload == b"model/hands state"
            assert again.qos == 1
            behind.outbox.state("model/hands", None)
            await subscriber.hear(ELSEWHERE, payload=b"state")
        async with subscribed(broker.address, ELSEWHERE) as subscriber:
            assert (await subscriber.hear()).retain
    assert herald.begun == 1


async def test_an_announcer_that_the_broker_refuses_is_told_of_once_and_stops_nobody(tmp_path: Path) -> None:
    acl = (f"topic readwrite {BASE}/#", "topic read homeassistant/#")
    with capture_logs() as logs:
        async with (
            running("mosquitto", tmp_path, acl) as broker,
            subscribed(broker.address) as subscriber,
            bridged(broker.address, tmp_path, announcers=(Herald(),)) as behind,
        ):
            await subscriber.online()
            for number in range(3):
                behind.outbox.state(f"model/{number}", b"{}")
            await behind.happen("one.png")
            await subscriber.hear("event/sampleAccepted")
            await behind.outbox.drained()
    told = [entry["reason"] for entry in logs if "reason" in entry]
    assert told == [f"the broker refuses {ELSEWHERE}: Not authorized"]


async def test_what_may_not_be_told_is_as_if_it_did_not_exist(tmp_path: Path) -> None:
    async with running("mosquitto", tmp_path) as broker:
        async with client(broker.address) as earlier:
            for name in "anna", "ben", "b":
                await earlier.publish(f"{BASE}/model/hands/{name}/state", b"{}", qos=1, retain=True)
        herald = Herald()
        async with (
            subscribed(broker.address) as subscriber,
            bridged(broker.address, tmp_path, disclosure=Shy(), announcers=(herald,)) as behind,
        ):
            await subscriber.online()
            for name in "anna", "ben":
                behind.outbox.state(f"model/hands/{name}", b"{}")
            await behind.happen("anna.png", "ben.png")
            assert (await subscriber.hear("event/sampleAccepted")).json["name"] == "ben.png"
            behind.outbox.progress(epoch(1))
            behind.outbox.progress(epoch(2))
            assert (await subscriber.hear("event/epochEnd")).json["step"] == 2
            await behind.outbox.drained()
            assert await behind.acknowledged() == 2
            answer = await subscriber.ask("status", b'{"transaction": "a"}')
            assert answer["data"] == {"told": {"call": 1}}
            error = await subscriber.ask("train", b'{"transaction": "b", "model": "unknown"}')
            assert error["error"] == "told: there"
            shown = {"availability", "model/hands/b/state"}
            assert set(await retained(broker.address)) == shown
            assert herald.said == b"model/hands/b"
            behind.outbox.state("model/hands/ben", None)
            await subscriber.hear("model/hands/b/state", payload=b"")
