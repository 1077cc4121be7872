"""The flow of docs/node-red.md in a real Node-RED, with a real mosquitto and the real bridge."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridges import NODE, TS, bridged
from brokers import MOSQUITTO, PASSWORD, client, free_port
from finetuned.edge.broker import LOOPBACK
from finetuned.service.events import TaskCompleted
from finetuned.service.ledger_outcomes import append_outcomes
from finetuned.service.messages import Metrics
from secured import ADMIN, Guarded
from shared import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiomqtt

    from bridges import Behind
    from finetuned.edge.broker import Address

FLOW = Path(__file__).parents[2] / "docs/node-red-flow.json"
SETTINGS = Path(__file__).with_name("settings.js")
OPERATOR = "operator"
SAYS = "node-red/finetuned"
PATIENCE_S = 60

pytestmark = pytest.mark.timeout(180)


def node_red() -> tuple[str, str]:
    """Return the command that starts Node-RED."""
    modules = os.environ.get("FINETUNED_NODE_MODULES", "")
    program, node = Path(modules, "node-red/red.js"), shutil.which("node")
    if not (modules and program.exists() and node):
        missing(
            "left out: Node-RED is not installed (npm install node-red; FINETUNED_NODE_MODULES=…/node_modules)"
        )
    return str(node), str(program)


def flow(address: Address) -> list[dict[str, Any]]:
    """Return the flow of the document, with this broker's address and node filled in."""
    nodes: list[dict[str, Any]] = json.loads(FLOW.read_text())
    given: dict[str, dict[str, Any]] = {
        "mqtt-broker": {"broker": address.host, "port": str(address.port)},
        "tab": {"env": [{"name": "NODE", "value": NODE, "type": "str"}]},
    }
    return [{**node, **given.get(node["type"], {})} for node in nodes]


def settle(folder: Path, address: Address) -> None:
    """Write the flow and its credentials into a new user folder of Node-RED's."""
    folder.mkdir()
    (folder / "flows.json").write_text(json.dumps(flow(address)))
    credentials = {"finetuned-broker": {"user": address.username, "password": address.password}}
    (folder / "flows_cred.json").write_text(json.dumps(credentials))


@asynccontextmanager
async def running(folder: Path, address: Address) -> AsyncIterator[int]:
    """Run Node-RED with the flow until it is connected; yield the port on which its injects can be pressed."""
    settle(folder, address)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(*node_red(), "--userDir", str(folder), "--settings", str(SETTINGS)),
        env={**os.environ, "PORT": str(port), "HOME": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout
        said = b""
        async with asyncio.timeout(PATIENCE_S):
            while b"Connected to broker" not in said:
                line = await process.stdout.readline()
                said += line
                assert line, said.decode()
                assert b"[error]" not in line, said.decode()
        yield port
    finally:
        process.kill()
        await process.communicate()


async def press(port: int, inject: str) -> None:
    """Press an inject node's button, as the editor does."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(f"POST /inject/{inject} HTTP/1.0\r\nHost: {LOOPBACK}\r\nContent-Length: 0\r\n\r\n".encode())
    assert b"200 OK" in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def says(connection: aiomqtt.Client, what: str) -> Any:  # noqa: ANN401 - JSON, or a sentence
    """Return the next that the flow says on this topic of its own."""
    async with asyncio.timeout(PATIENCE_S):
        async for message in connection.messages:
            if str(message.topic) == f"{SAYS}/{what}":
                text = message.payload.decode()
                return text if what == "message" else json.loads(text)
    raise AssertionError


async def complete(behind: Behind, version: int) -> None:
    """Let a task complete with this version."""
    completed = TaskCompleted(
        ts=TS,
        node=NODE,
        model="hands",
        user="anna",
        task=f"t{version}",
        version=version,
        parent=0,
        samples=30,
        before=Metrics(samples=15, loss_value=1.0, accuracy=0.33),
        after=Metrics(samples=15, loss_value=0.5, accuracy=0.8),
        promotion="promoted",
        promotion_reason="better on 15 held-out samples",
        duration_seconds=4.2,
    )
    await behind.ledger.run(append_outcomes, [completed], ends=completed.task)
    behind.outbox.outcomes_written()


async def test_the_flow_tells_of_completions_once_shows_progress_and_is_answered(tmp_path: Path) -> None:
    node_red()
    if MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    (tmp_path / "broker").mkdir()
    broker = Guarded(folder=tmp_path / "broker")
    acl = tmp_path / "broker/acl"
    # What the document tells to add to the operator's lines.
    acl.write_text(acl.read_text().replace("user operator\n", "user operator\ntopic readwrite node-red/#\n"))
    await broker.start()
    try:
        async with (
            running(tmp_path / "node-red", broker.as_(OPERATOR)) as port,
            client(broker.as_(ADMIN)) as admin,
            bridged(broker.as_(NODE), tmp_path) as behind,
        ):
            for topic in f"{SAYS}/#", "finetuned/#":
                await admin.subscribe(topic, qos=1)

            # Progress is shown while a task lives, and is gone with it.
            behind.outbox.state("task/t1", b'{"task": "t1", "progress": 0.36}')
            assert await says(admin, "progress") == 36
            behind.outbox.state("task/t1", None)
            assert await says(admin, "progress") == 0

            # An outcome that comes again says nothing.
            await complete(behind, 7)
            async for message in admin.messages:
                if str(message.topic).endswith("event/completed"):
                    await admin.publish(str(message.topic), message.payload, qos=1)
                    break
            await complete(behind, 8)
            sentence = (
                "hands of anna on n: version {} was promoted, 33 % → 80 % (better on 15 held-out samples)"
            )
            assert [await says(admin, "message") for _ in range(2)] == [
                sentence.format(7),
                sentence.format(8),
            ]

            # A press is a request with a transaction of its own, and its answer is shown.
            for call in 1, 2:
                await press(port, "train")
                answer = {"verb": "train", "status": "ok", "data": {"call": call}}
                assert await says(admin, "answer") == answer
            await press(port, "never")
            assert (await says(admin, "answer"))["verb"] == "mode"
        body = {"mode": "never", "forSeconds": 3600}
        assert behind.calls == [("train", {"model": "digits"})] * 2 + [("mode", body)]
    finally:
        await broker.kill()


def test_the_flow_is_made_of_nodes_that_every_node_red_has() -> None:
    core = {"tab", "mqtt-broker", "mqtt in", "mqtt out", "function", "switch", "debug", "inject"}
    assert {node["type"] for node in json.loads(FLOW.read_text())} <= core
    assert PASSWORD not in FLOW.read_text()
