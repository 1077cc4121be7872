from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from bridges import BASE, DEADLINE_S, QUICK, batch, bridged, epoch, line_to, retained, subscribed
from brokers import certificate, client, running
from finetuned.edge.bucket import Bucket
from finetuned.edge.client import connected
from finetuned.edge.config import Mqtt, Tls
from finetuned.edge.mqtt import Patience
from finetuned.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from brokers import BrokerProcess

CHILD = Path(__file__).with_name("bridge_child.py")
MANY = [f"{number}.png" for number in range(50)]


@pytest.fixture(params=["mosquitto", "embedded"])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BrokerProcess]:
    async with running(request.param, tmp_path) as started:
        yield started


# ── outcomes ────────────────────────────────────────────────────────────────────────────────────
async def test_outcomes_arrive_in_order_with_their_id_and_are_acknowledged(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    async with subscribed(broker.address) as subscriber, bridged(broker.address, tmp_path) as behind:
        await behind.happen(*MANY)
        heard = [await subscriber.hear("event/sampleAccepted") for _ in MANY]
        assert [(each.json["id"], each.json["name"]) for each in heard] == list(enumerate(MANY, start=1))
        assert {(each.qos, each.retain) for each in heard} == {(1, False)}
        behind.outbox.state("state", b"{}")
        await subscriber.hear("state")  # after the last acknowledgement
        assert await behind.acknowledged() == len(MANY)


async def test_outcomes_wait_for_a_broker_that_was_killed_and_come_once_in_order(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    back = asyncio.Event()
    async with bridged(broker.address, tmp_path, rest=lambda _delay: back.wait()) as behind:
        async with subscribed(broker.address) as subscriber:
            await subscriber.online()
            await behind.happen("before.png")
            await subscriber.hear("event/sampleAccepted")
            await behind.outbox.drained()  # acknowledged, too: else it would rightly come again
        await broker.kill()
        await behind.happen(*MANY)
        await broker.start()
        async with subscribed(broker.address) as subscriber:
            back.set()
            heard = [(await subscriber.hear("event/sampleAccepted")).json["name"] for _ in MANY]
            assert heard == MANY


async def test_an_outcome_whose_acknowledgement_is_lost_is_sent_again_with_the_same_id(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    async with subscribed(broker.address) as subscriber, line_to(broker.address) as (line, near):
        patience = replace(QUICK, answer_s=0.5)
        async with bridged(near, tmp_path, patience=patience) as behind:
            await subscriber.online()
            await behind.happen("one.png")
            await subscriber.hear("event/sampleAccepted")
            await behind.outbox.drained()  # its acknowledgement, too, is through
            line.deaf = True
            await behind.happen("two.png", "three.png")
            first = (await subscriber.hear("event/sampleAccepted")).json
            await line.lost.wait()
            line.deaf = False
            again = (await subscriber.hear("event/sampleAccepted")).json
            last = (await subscriber.hear("event/sampleAccepted")).json
    assert first == again
    assert (first["name"], last["name"]) == ("two.png", "three.png")


async def test_an_outcome_that_the_access_list_denies_waits_until_it_is_allowed(tmp_path: Path) -> None:
    states = (f"topic readwrite {BASE}/{kind}" for kind in ("availability", "state", "model/#", "request/#"))
    acl = (*states, f"topic read {BASE}/#")
    async with running("mosquitto", tmp_path, acl) as broker:
        with capture_logs() as logs:
            async with subscribed(broker.address) as subscriber, bridged(broker.address, tmp_path) as behind:
                await subscriber.online()
                await behind.happen("one.png", "two.png")
                # Two rounds: what is not allowed holds up nothing else.
                for payload in b"{}", b"[]":
                    behind.outbox.state("state", payload)
                    await subscriber.hear("state", payload=payload)
                assert await behind.acknowledged() == 0
                (tmp_path / "acl").write_text(f"user finetuned\ntopic readwrite {BASE}/#\n")
                broker.reload()
                assert await subscriber.hear_names(until="two.png") == ["one.png", "two.png"]
    told = [entry["reason"] for entry in logs if "reason" in entry]
    assert told == [f"the broker refuses {BASE}/event/sampleAccepted: Not authorized"]


# ── progress ────────────────────────────────────────────────────────────────────────────────────
async def test_progress_is_dropped_while_nobody_is_connected(broker: BrokerProcess, tmp_path: Path) -> None:
    await broker.kill()
    back = asyncio.Event()
    async with bridged(broker.address, tmp_path, rest=lambda _delay: back.wait()) as behind:
        behind.outbox.progress(epoch(1))
        await broker.start()
        async with subscribed(broker.address) as subscriber:
            back.set()
            await subscriber.online()
            behind.outbox.progress(epoch(2))
            heard = await subscriber.hear("event/epochEnd")
    assert heard.json["step"] == 2
    assert "id" not in heard.json


@pytest.mark.parametrize(("rate", "sent"), [(5.0, [0]), (100.0, [0, 1, 2, 3, 4]), (0.0, [])])
async def test_mini_batches_above_the_limit_are_dropped_and_epochs_are_not(
    tmp_path: Path, rate: float, sent: list[int]
) -> None:
    steps = []
    async with running("embedded", tmp_path) as broker, subscribed(broker.address) as subscriber:
        mqtt = Mqtt(batch_events_per_second=rate)
        async with bridged(broker.address, tmp_path, mqtt=mqtt, clock=lambda: 0.0) as behind:
            await subscriber.online()
            for step in range(10):
                behind.outbox.progress(batch(step))
            behind.outbox.progress(epoch(10))
            while (heard := await subscriber.hear("event/miniBatchEnd", "event/epochEnd")).json["step"] != 10:
                steps.append(heard.json["step"])
    assert steps == sent


def test_a_bucket_fills_at_its_rate_and_not_above_its_brim() -> None:
    now = [0.0]
    bucket = Bucket(rate=20, burst=2, clock=lambda: now[0])
    assert [bucket.take(), bucket.take(), bucket.take()] == [0, 0, pytest.approx(0.05)]
    now[0] = 0.05
    assert [bucket.take(), bucket.take() > 0] == [0, True]
    now[0] = 60
    assert [bucket.take(), bucket.take(), bucket.take() > 0] == [0, 0, True]


# ── states ──────────────────────────────────────────────────────────────────────────────────────
async def test_states_are_retained_and_a_cleared_one_is_gone(broker: BrokerProcess, tmp_path: Path) -> None:
    async with subscribed(broker.address) as subscriber, bridged(broker.address, tmp_path) as behind:
        behind.outbox.state("task/01JD", b'{"epoch":1}')
        behind.outbox.state("model/hands/anna", b'{"current":7}')
        await subscriber.hear("model/hands/anna/state")
        assert await retained(broker.address) == {
            "availability": b"online",
            "task/01JD/state": b'{"epoch":1}',
            "model/hands/anna/state": b'{"current":7}',
        }
        behind.outbox.state("task/01JD", None)
        await subscriber.hear("task/01JD/state", payload=b"")
        assert "task/01JD/state" not in await retained(broker.address)


async def test_what_an_earlier_daemon_left_retained_is_cleared(broker: BrokerProcess, tmp_path: Path) -> None:
    async with client(broker.address) as earlier:
        for topic in "task/old/state", "model/gone/state", "model/hands/state":
            await earlier.publish(f"{BASE}/{topic}", b"old", qos=1, retain=True)
        await earlier.publish("finetuned/other/task/old/state", b"theirs", qos=1, retain=True)
    cleared = set()
    async with subscribed(broker.address) as subscriber, bridged(broker.address, tmp_path) as behind:
        behind.outbox.state("model/hands", b"new")
        while (heard := await subscriber.hear()).payload != b"new":
            cleared |= set() if heard.payload else {heard.topic}
        assert cleared == {"task/old/state", "model/gone/state"}
        behind.outbox.state("state", b"{}")
        await subscriber.hear("state")
        assert set(await retained(broker.address)) == {"availability", "state", "model/hands/state"}
    async with subscribed(broker.address, "finetuned/other/#") as subscriber:
        assert (await subscriber.hear()).payload == b"theirs"


async def test_names_from_outside_stay_one_level_and_are_true_in_the_payload(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    async with subscribed(broker.address) as subscriber, bridged(broker.address, tmp_path) as behind:
        behind.outbox.state("model/✊ $x/a b+#", "✊".encode())
        heard = await subscriber.hear("model/%E2%9C%8A%20%24x/a%20b%2B%23/state")
        assert heard.payload == "✊".encode()


# ── availability ────────────────────────────────────────────────────────────────────────────────
async def test_a_killed_process_is_offline_by_its_last_will(broker: BrokerProcess, tmp_path: Path) -> None:
    address = broker.address
    async with subscribed(address) as subscriber:
        paths = os.pathsep.join(path for path in sys.path if path)
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                str(CHILD),
                str(tmp_path),
                str(address.port),
                address.username,
                address.password,
            ),
            env=os.environ | {"PYTHONPATH": paths},
        )
        await subscriber.online()
        process.kill()
        await subscriber.hear("availability", payload=b"offline")
        await process.wait()
    assert (await retained(address))["availability"] == b"offline"


async def test_a_bridge_that_is_stopped_says_offline_itself(broker: BrokerProcess, tmp_path: Path) -> None:
    async with subscribed(broker.address) as subscriber:
        async with bridged(broker.address, tmp_path):
            await subscriber.online()
        await subscriber.hear("availability", payload=b"offline")


async def test_the_late_will_of_a_dead_connection_is_set_right(broker: BrokerProcess, tmp_path: Path) -> None:
    async with subscribed(broker.address) as subscriber, bridged(broker.address, tmp_path):
        await subscriber.online()
        await subscriber.client.publish(f"{BASE}/availability", b"offline", qos=1, retain=True)
        await subscriber.hear("availability", payload=b"offline")
        await subscriber.online()


async def test_a_broker_that_knows_no_mqtt_5_is_spoken_to_in_3_1_1(tmp_path: Path) -> None:
    async with running("embedded", tmp_path) as broker, subscribed(broker.address) as subscriber:
        unsure = replace(broker.address, mqtt5=True)
        async with bridged(unsure, tmp_path, patience=replace(QUICK, answer_s=0.5)):
            await subscriber.online()


async def test_a_broker_that_lets_nobody_in_is_told_once_and_tried_again(tmp_path: Path) -> None:
    tries = asyncio.Semaphore(0)

    async def rest(_delay: float) -> None:
        tries.release()
        await asyncio.sleep(0)

    async with running("mosquitto", tmp_path) as broker:
        with capture_logs() as logs:
            async with bridged(replace(broker.address, password="wrong"), tmp_path, rest=rest):  # noqa: S106
                async with asyncio.timeout(DEADLINE_S):
                    for _ in range(3):
                        await tries.acquire()
    assert [entry["reason"] for entry in logs] == ["[code:135] Not authorized"]
    assert "wrong" not in str(logs)


# paho leaves the socket of a failed handshake to the garbage collector, which closes it and says so.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
async def test_tls_is_spoken_to_a_broker_with_a_trusted_certificate_and_to_no_other(tmp_path: Path) -> None:
    paper = certificate(tmp_path)
    refused = asyncio.Event()

    async def rest(_delay: float) -> None:
        refused.set()
        await asyncio.Event().wait()

    async with running("mosquitto", tmp_path, certificate=paper) as broker:
        trusting = replace(broker.address, tls=Tls(enabled=True, ca_file=str(paper)))
        with capture_logs() as logs:
            async with bridged(replace(trusting, tls=Tls(enabled=True)), tmp_path, rest=rest):
                async with asyncio.timeout(DEADLINE_S):
                    await refused.wait()
        assert "certificate verify failed" in logs[0]["reason"]
        async with bridged(trusting, tmp_path), connected(trusting, events=True) as daemon:
            async with asyncio.timeout(DEADLINE_S):
                assert await anext(daemon.events()) == ("availability", {"availability": "online"})


def test_pauses_between_attempts_grow_to_a_minute_and_a_third_of_each_is_chance() -> None:
    for chance, expected in (0.0, [1, 2, 4, 8, 16, 32, 40, 40]), (1.0, [1.5, 3, 6, 12, 24, 48, 60, 60]):
        delays = Patience().delays(lambda chance=chance: chance)  # type: ignore[misc]
        assert [next(delays) for _ in expected] == expected


# ── requests ────────────────────────────────────────────────────────────────────────────────────
async def test_a_repeated_transaction_gets_the_first_answer_and_does_nothing(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    request = b'{"transaction": "a1", "model": "hands"}'
    async with subscribed(broker.address) as subscriber, bridged(broker.address, tmp_path) as behind:
        await subscriber.online()
        first = await subscriber.ask("train", request)
        assert first == {"transaction": "a1", "status": "ok", "data": {"call": 1}}
        assert await subscriber.ask("train", request) == first
        assert behind.calls == [("train", {"model": "hands"})]


async def test_a_retained_request_is_refused_and_taken_off_the_broker(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    async with client(broker.address) as yesterday:
        request = b'{"transaction": "a1", "task": "all"}'
        await yesterday.publish(f"{BASE}/request/cancel", request, qos=1, retain=True)
    async with subscribed(broker.address) as subscriber, bridged(broker.address, tmp_path) as behind:
        answer = (await subscriber.hear("response/cancel")).json
        assert answer["error"].startswith("a retained request is refused")
        await subscriber.hear("request/cancel", payload=b"")
        assert behind.calls == []
    assert "request/cancel" not in await retained(broker.address)


async def test_a_request_that_is_published_retained_is_refused_at_once_where_mqtt_5_tells(
    tmp_path: Path,
) -> None:
    async with (
        running("mosquitto", tmp_path) as broker,
        subscribed(broker.address) as subscriber,
        bridged(broker.address, tmp_path) as behind,
    ):
        await subscriber.online()
        answer = await subscriber.ask("cancel", b'{"transaction": "a1"}', retain=True)
        assert answer["status"] == "error"
        assert behind.calls == []


async def test_what_cannot_be_obeyed_is_answered_with_a_sentence(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    async with subscribed(broker.address) as subscriber, bridged(broker.address, tmp_path) as behind:
        await subscriber.online()
        big = await subscriber.ask("train", b'{"transaction": "%s"}' % (b"x" * 65536))
        garbage = await subscriber.ask("train", b"\xff\x00{")
        other = await subscriber.ask("forget", b'{"transaction": "f"}')
        unknown = await subscriber.ask("train", b'{"transaction": "u", "model": "unknown"}')
        assert len(behind.calls) == 1
    assert big == {
        "transaction": "",
        "status": "error",
        "error": "65555 bytes are too many (allowed: up to 65536)",
    }
    assert garbage["error"].startswith("the payload is not a JSON object")
    assert (
        other["error"]
        == "'forget' is not obeyed; allowed: train, pause, resume, cancel, promote, rollback, mode, rescan, status "
        "(mqtt.allow in the daemon's configuration)"
    )
    assert unknown == {
        "transaction": "u",
        "status": "error",
        "error": "there is no model unknown; there are: hands",
    }


async def test_more_than_twenty_requests_a_second_are_slowed(tmp_path: Path) -> None:
    now = [0.0]
    rests: list[float] = []

    async def rest(delay: float) -> None:
        rests.append(delay)
        now[0] += delay
        await asyncio.sleep(0)

    async with (
        running("embedded", tmp_path) as broker,
        subscribed(broker.address) as subscriber,
        bridged(broker.address, tmp_path, clock=lambda: now[0], rest=rest),
    ):
        await subscriber.online()
        for number in range(22):
            await subscriber.ask("status", b'{"transaction": "%d"}' % number)
    assert rests == [pytest.approx(0.05), pytest.approx(0.05)]


async def test_a_request_that_was_begun_is_finished_before_a_stop_and_answered_to_the_repeat(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    did: list[str] = []

    async def slow(_verb: str, _body: dict[str, Any]) -> None:
        did.append("begun")
        begun.set()
        await go_on.wait()
        did.append("done")
        raise RequestError("too late")

    async with subscribed(broker.address) as subscriber:
        async with bridged(broker.address, tmp_path, handler=slow):
            await subscriber.online()
            await subscriber.client.publish(f"{BASE}/request/train", b'{"transaction": "a"}', qos=1)
            await begun.wait()
            asyncio.get_running_loop().call_later(0.05, go_on.set)  # well after the stop has begun
        async with bridged(broker.address, tmp_path, handler=slow):
            await subscriber.online()
            answer = await subscriber.ask("train", b'{"transaction": "a"}')
    assert answer["error"] == "too late"
    assert did == ["begun", "done"]
