from __future__ import annotations

import asyncio
import json
import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridges import BASE, DEADLINE_S, bridged, epoch, subscribed
from brokers import client, free_port, running
from finetuned.edge.broker import Address, write
from finetuned.edge.client import UNHEARD, connected, find
from finetuned.edge.config import parse
from finetuned.errors import HostError, RequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    from brokers import BrokerProcess
    from finetuned.edge.client import Daemon


@pytest.fixture(params=["mosquitto", "embedded"])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BrokerProcess]:
    async with running(request.param, tmp_path) as started:
        yield started


async def heard(daemon: Daemon, topic: str) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_S):
        async for found, payload in daemon.events():
            if found == topic:
                return payload
    raise AssertionError


# ── requests ────────────────────────────────────────────────────────────────────────────────────
async def test_a_request_is_answered_with_the_daemons_data(broker: BrokerProcess, tmp_path: Path) -> None:
    async with bridged(broker.address, tmp_path) as behind, connected(broker.address, events=True) as daemon:
        assert await heard(daemon, "availability") == {"availability": "online"}
        assert await daemon.request("train", {"model": "hands"}) == {"call": 1}
        assert await daemon.request("train", {"model": "hands"}) == {"call": 2}
        assert behind.calls == [("train", {"model": "hands"})] * 2


async def test_a_refusal_is_a_request_error_in_the_daemons_words(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    async with bridged(broker.address, tmp_path), connected(broker.address, events=True) as daemon:
        await heard(daemon, "availability")
        with pytest.raises(RequestError, match="there is no model unknown; there are: hands"):
            await daemon.request("train", {"model": "unknown"})


async def test_what_a_refusal_says_is_harmless_to_a_terminal_and_an_answer_without_data_is_none(
    broker: BrokerProcess,
) -> None:
    async with subscribed(broker.address) as stranger, connected(broker.address) as daemon:
        for answer, error, said in (
            (
                {"status": "error", "error": f"no\x1b[2J\u202e\n{'x' * 9999}"},
                RequestError,
                r"^no�\[2J��x{1,2000}…$",
            ),
            ({"status": "error", "error": {"\x1b": 1}}, RequestError, r"^[^\x1b]*$"),
            ({"status": "ok"}, HostError, "the answer to `status` holds no data"),
            ({"status": "ok", "data": None}, HostError, "the answer to `status` holds no data"),
        ):
            asking = asyncio.create_task(daemon.request("status"))
            transaction = (await stranger.hear("request/status")).json["transaction"]
            payload = json.dumps({"transaction": transaction, **answer})
            await stranger.client.publish(f"{BASE}/response/status", payload, qos=0)
            with pytest.raises(error, match=said):
                await asking


async def test_requests_at_once_get_their_own_answers(broker: BrokerProcess, tmp_path: Path) -> None:
    async def echo(verb: str, body: dict[str, Any]) -> dict[str, Any]:
        return {"verb": verb} | body

    async with (
        bridged(broker.address, tmp_path, handler=echo),
        connected(broker.address, events=True) as daemon,
    ):
        await heard(daemon, "availability")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(daemon.request("train", {"n": n})) for n in range(10)]
    assert [task.result() for task in tasks] == [{"verb": "train", "n": n} for n in range(10)]


async def test_no_answer_says_what_to_look_at(broker: BrokerProcess) -> None:
    async with connected(broker.address) as daemon:
        with pytest.raises(
            HostError, match=r"no answer to `status` within 0\.05 s from n .*is the daemon running"
        ):
            await daemon.request("status", timeout=0.05)


async def test_an_answer_that_comes_twice_does_no_harm(broker: BrokerProcess) -> None:
    async with subscribed(broker.address) as double, connected(broker.address) as daemon:
        for number in range(3):
            asking = asyncio.create_task(daemon.request("status"))
            transaction = (await double.hear("request/status")).json["transaction"]
            answer = json.dumps({"transaction": transaction, "status": "ok", "data": number})
            for _ in range(2):
                await double.client.publish(f"{BASE}/response/status", answer, qos=0)
            assert await asking == number


# ── events ──────────────────────────────────────────────────────────────────────────────────────
async def test_events_and_states_can_be_followed(broker: BrokerProcess, tmp_path: Path) -> None:
    async with bridged(broker.address, tmp_path) as behind, connected(broker.address, events=True) as daemon:
        await heard(daemon, "availability")
        behind.outbox.state("task/01JD", b'{"epoch":1}')
        assert await heard(daemon, "task/01JD/state") == {"epoch": 1}
        behind.outbox.progress(epoch(7))
        assert (await heard(daemon, "event/epochEnd"))["step"] == 7
        behind.outbox.state("task/01JD", None)
        assert await heard(daemon, "task/01JD/state") == {}


async def test_what_is_no_payload_of_ours_is_passed_over(broker: BrokerProcess) -> None:
    async with connected(broker.address, events=True) as daemon, client(broker.address) as stranger:
        for payload in b"\xff", b"[1]", b'{"ok": 1}':
            await stranger.publish(f"{BASE}/event/x", payload, qos=1)
        assert await heard(daemon, "event/x") == {"ok": 1}


async def test_a_broker_that_dies_ends_events_and_requests_with_a_reason(broker: BrokerProcess) -> None:
    async with connected(broker.address, events=True) as daemon:
        async with subscribed(broker.address) as witness:
            asking = asyncio.create_task(daemon.request("status", timeout=DEADLINE_S))
            await witness.hear("request/status")
        await broker.kill()
        with pytest.raises(HostError, match="broke"):
            await heard(daemon, "event/x")
        with pytest.raises(HostError, match="cannot be used"):
            await asking


# ── finding it ──────────────────────────────────────────────────────────────────────────────────
async def test_a_broker_that_is_not_there_is_the_hosts_fault() -> None:
    with pytest.raises(HostError, match=r"the broker 127\.0\.0\.1:\d+ cannot be used"):
        async with connected(Address(host="127.0.0.1", port=free_port(), node="n")):
            pass


async def test_a_broker_that_takes_the_connection_and_says_nothing_is_said_to_do_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(host="127.0.0.1", port=server.getsockname()[1], node="n")
        with pytest.raises(HostError, match="no answer in time: is it stopped or overloaded"):
            async with connected(address, timeout=0.05):
                pass


async def test_of_a_flood_as_much_is_kept_as_is_waited_for_and_answers_still_come(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    async with bridged(broker.address, tmp_path), connected(broker.address, events=True) as daemon:
        await heard(daemon, "availability")
        for _ in range(2 * UNHEARD):
            daemon._sort("event/miniBatchEnd", {"type": "miniBatchEnd"})  # noqa: SLF001 - a broker would take its time
        assert daemon._heard.qsize() <= UNHEARD  # noqa: SLF001 - what is not heard cannot be counted otherwise
        assert await daemon.request("train", {"model": "hands"}) == {"call": 1}


async def test_the_one_daemon_on_a_broker_is_found_by_its_availability(tmp_path: Path) -> None:
    async with running("mosquitto", tmp_path) as broker, bridged(broker.address, tmp_path):
        async with connected(broker.address, events=True) as first:
            await heard(first, "availability")
        async with connected(replace(broker.address, node="")) as daemon:
            assert daemon.topics.node == "n"


def test_the_embedded_brokers_file_is_found_in_the_runtime_folder_or_the_state_folder(tmp_path: Path) -> None:
    address = Address(host="127.0.0.1", port=5, username="u", password="p", node="n", mqtt5=False)  # noqa: S106
    write(tmp_path / "state" / "run", replace(address, port=6))
    config = parse(f'state = "{tmp_path / "state"}"')
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert find(config, environ).port == 6
    write(tmp_path / "finetuned", address)
    assert find(config, environ) == address


def test_no_daemon_to_be_seen_says_where_was_looked(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=f"no readable {tmp_path}/finetuned/broker.json"):
        find(parse(f'state = "{tmp_path}"'), os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)})


def test_a_configured_broker_is_taken_at_its_word() -> None:
    assert find(parse('mqtt = {host = "broker.local", port = 8883}'), {}).port == 8883


async def test_no_message_waits_for_the_acknowledgement_of_the_one_before(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    """Nagle's algorithm and a broker's delayed acknowledgement make 40 ms of every small message."""
    async with bridged(broker.address, tmp_path), connected(broker.address) as daemon:
        sock = daemon.connection._client.socket()  # noqa: SLF001 - nobody else has it
        assert isinstance(sock, socket.socket)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
