"""One whole run, everything heard: each message is what docs/asyncapi.yaml says, and none tells what it must not."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
import yaml
from jsonschema import Draft7Validator
from paho.mqtt.subscribeoptions import SubscribeOptions

from acceptance.house import LONG, House, a_house
from acceptance.world import a_manager
from brokers import MOSQUITTO, PASSWORD, USER
from finetuned.edge.demo_data import DROPS, MODEL, pictures, truncated
from finetuned.spec import coreml_pb2
from shared import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acceptance.world import Manager

DOCUMENT: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "docs" / "asyncapi.yaml").read_text(encoding="utf-8")
)
MARK = "mrk"
ANNA, BERT, CARL = f"{MARK}user-anna", f"{MARK}user-bert", f"{MARK}user-carl"
LABEL, NAME, CONTENT = f"{MARK}label-", f"{MARK}file-", "ctnt, that nobody may read"
SECRETS = (PASSWORD, CONTENT[:4])
# An absolute path, or one below the inbox; topics and dates have no slash before their first level.
PATH = re.compile(rf"(?<![\w./}}\]])/[\w.%-]+/[\w.%-]|/(?:{LABEL}|{NAME})")
UNSEEN_AT = {
    "none": {"modelUser", "eventSampleAccepted", "eventSampleRejected", "eventSampleWaiting"},
}
"""What is not told at all at a level."""
OF_OTHERS = "homeAssistantStatus"

pytestmark = pytest.mark.timeout(180)


# ── hearing ─────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A message as it came."""

    topic: str
    payload: str
    qos: int
    retain: bool
    content: str
    expires: bool


@dataclass(slots=True)
class Record:
    """Everything that came."""

    heard: list[Heard] = field(default_factory=list)

    async def listen(self, client: aiomqtt.Client) -> None:
        """Take messages for ever."""
        async for message in client.messages:
            properties = message.properties
            self.heard.append(
                Heard(
                    topic=str(message.topic),
                    payload=bytes(message.payload).decode(),
                    qos=message.qos,
                    retain=message.retain,
                    content=getattr(properties, "ContentType", ""),
                    expires=hasattr(properties, "MessageExpiryInterval"),
                )
            )


@asynccontextmanager
async def recorded(house: House) -> AsyncIterator[Record]:
    """Hear everything on the broker, each with the retain flag that it was published with."""
    address, record = house.broker.address, Record()
    async with aiomqtt.Client(
        address.host,
        address.port,
        username=USER,
        password=PASSWORD,
        protocol=aiomqtt.ProtocolVersion.V5,
    ) as client:
        await client.subscribe("#", options=SubscribeOptions(qos=1, retainAsPublished=True))
        listening = asyncio.create_task(record.listen(client))
        try:
            yield record
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening


# ── the run ─────────────────────────────────────────────────────────────────────────────────────
def marked_model() -> bytes:
    """Return the demo's model with labels that can be found again."""
    model = coreml_pb2.Model.FromString(MODEL.read_bytes())
    labels = model.neuralNetworkClassifier.stringClassLabels.vector
    labels[:] = [f"{LABEL}{label}" for label in labels]
    return model.SerializeToString()


def drop(house: House, user: str, count: int) -> None:
    """Drop so many of the demo's pictures for a user."""
    for picture in pictures(DROPS)[::5][:count]:
        house.drop(f"digits/{user}/{LABEL}{picture.label}/{NAME}{picture.path.name}", picture.path)


def drop_oddities(house: House) -> None:
    """Drop what is no sample: damaged, foreign, a link, of another label, of labels and models that there are not."""
    one, *_, other = pictures(DROPS)[0::5]
    broken = truncated(one.path.read_bytes()) + CONTENT.encode()
    header = f"{{'descr': '{CONTENT}', 'shape': ({CONTENT}".encode()
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    here = f"digits/{ANNA}/{LABEL}{one.label}"
    house.drop(f"{here}/{NAME}broken.png", broken)
    house.drop(f"{here}/{NAME}broken.npy", array)
    house.drop(f"{here}/{NAME}foreign.txt", CONTENT.encode())
    house.drop(f"{here}/{NAME}again.png", one.path)
    house.drop(f"digits/{ANNA}/{LABEL}{other.label}/{NAME}relabelled.png", one.path)
    house.drop(f"digits/{ANNA}/{LABEL}lizard/{NAME}waits.png", one.path)
    house.drop(f"{BERT}/{LABEL}0/{NAME}waits.png", one.path)
    house.drop(f"{NAME}broken.mlmodel", CONTENT.encode())
    (house.inbox / here / f"{NAME}link.png").symlink_to(one.path)


async def learn(house: House) -> None:
    """Let one task complete, one fail since its version cannot be saved, and one be held, throttled and cancelled."""
    ear = house.ear
    (house.state / f"models/digits/{BERT}").mkdir(parents=True)
    (house.state / f"models/digits/{BERT}/versions").touch()
    drop(house, ANNA, 20)
    drop(house, BERT, 10)
    await ear.event("completed")
    drop_oddities(house)
    asked = await house.request("train", model="digits", user=ANNA, parameters=LONG)
    task = asked["data"]["task"]
    await ear.event("trainingBegin", task=task)
    await house.request("pause", task=task)
    await ear.event("paused", task=task)
    await house.request("resume", task=task, parameters={"learningRate": 0.001})
    await ear.event("resumed", task=task)
    house.sysfs.heat(75)
    await ear.event("paceChanged", task=task)
    await house.request("cancel", task=task)
    await ear.event("cancelled", task=task)
    house.sysfs.heat(40)
    assert (await ear.event("failed"))["fault"] == "host"
    await ear.until(lambda: ear.retained["state"]["waitingSamples"] == 2, "two wait")
    await ear.until(lambda: not ear.retained["state"]["running"], "all tasks over")


async def ask(house: House) -> None:
    """Make the requests that there are, right and wrong; Bert is called as the daemon calls him."""
    bert = house.ear.events("failed")[0].get("user", BERT)
    answers = [
        await house.request("rollback", model="digits", user=ANNA),
        await house.request("promote", model="digits", user=ANNA, version=1),
        await house.request("mode", mode="never", forSeconds=60),
        await house.request("mode", mode="auto"),
        await house.request("rescan"),
        await house.request("status"),
        await house.request("pause", task="all"),
        await house.request("resume", task="all"),
        await house.request("forget", model="digits", user=ANNA, label=f"{LABEL}0"),
        await house.request("forget", model="digits", user=bert),
    ]
    assert [answer.get("error", "") for answer in answers] == [""] * len(answers)
    wrong: tuple[tuple[str, dict[str, object]], ...] = (
        ("train", {"model": "digits", "user": CARL}),
        ("train", {"model": "digits", "user": f"{CARL}/.."}),
        ("train", {"model": "gesture"}),
        ("train", {"model": "digits", "colour": "red"}),
        ("train", {"model": "digits", "user": ANNA, "parameters": {"epochs": -1}}),
        ("promote", {"model": "digits", "user": ANNA, "version": 99}),
        ("rollback", {"model": "digits", "user": CARL}),
        ("forget", {"model": "digits", "user": CARL}),
        ("forget", {"model": "digits", "user": ANNA, "label": f"{LABEL}lizard"}),
        ("forget", {"model": "digits", "user": ANNA, "sample": "0" * 64}),
        ("cancel", {"task": "01JD8QZ5V6W7X8Y9ZABCDEFGHJ"}),
        ("resume", {"task": "01JD8QZ5V6W7X8Y9ZABCDEFGHJ"}),
        ("mode", {"mode": "sometimes"}),
        ("teleport", {"model": "digits"}),
    )
    refused = await asyncio.gather(*(house.request(verb, **body) for verb, body in wrong))
    assert {answer["status"] for answer in refused} == {"error"}


async def ask_nonsense(house: House) -> None:
    """Make requests without a transaction: no objects, one that is too long, one that is retained."""
    request = f"finetuned/{await house.node()}/request/train"
    unanswered = len([True for topic, _ in house.ear.heard if topic == "response/train"])
    for payload, retain in ((b"7", False), (b"[]", False), (b'"%s"' % (b"x" * 70_000), False), (b"{}", True)):
        await house.client.publish(request, payload, qos=1, retain=retain)
    await house.ear.until(
        lambda: len([True for topic, _ in house.ear.heard if topic == "response/train"]) == unanswered + 4,
        "four refusals",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What was heard, written and told to systemd in a whole run."""

    root: Path
    heard: tuple[Heard, ...]
    log: tuple[str, ...]
    manager: Manager

    @property
    def told(self) -> tuple[Heard, ...]:
        """What the daemon itself published."""
        return tuple(each for each in self.heard if "/request/" not in each.topic)


async def traffic(folder: Path, level: str) -> Traffic:
    """Run a daemon through everything, and return what came of it."""
    if MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    (folder / "marked.mlmodel").write_bytes(marked_model())
    verbs = ", ".join(
        f'"{name.removeprefix("request").lower()}"'
        for name in DOCUMENT["channels"]
        if name.startswith("request")
    )
    more = f'[models.digits]\npath = "{folder / "marked.mlmodel"}"\nparameters = {{ epochs = 3 }}\n'
    settings: dict[str, Any] = {
        "users": "true",
        "max_running": 2,
        "mqtt": f'disclose = "{level}"\nallow = [{verbs}]',
    }
    # Not even root may read every folder here.
    within = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    with a_manager(folder) as manager:
        async with a_house(folder, more=more, within=within, **settings) as house, recorded(house) as record:
            shut = house.inbox / f"digits/{CARL}/{LABEL}0"
            shut.mkdir(parents=True)
            shut.chmod(0)
            await house.start()
            await learn(house)
            await ask(house)
            await ask_nonsense(house)
            assert await house.stop() == 0
            await house.ear.until(
                lambda: record.heard and record.heard[-1].payload == "offline", "the farewell, by both"
            )
            log = tuple(line for line in house.log.splitlines() if not line.startswith("import time:"))
    return Traffic(root=folder, heard=tuple(record.heard), log=log, manager=manager)


# ── what it must be ─────────────────────────────────────────────────────────────────────────────
def of(reference: dict[str, str]) -> Any:  # noqa: ANN401 - any part of the document
    """Return what a reference leads to."""
    found: Any = DOCUMENT
    for step in reference["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


def strict(schema: Any) -> Any:  # noqa: ANN401 - JSON, both times
    """Return a schema in which objects have no other keys than those that are described."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {}
    return {key: strict(each) for key, each in schema.items()} | closed


COMPONENTS = {"schemas": strict(DOCUMENT["components"]["schemas"])}


def channel_of(topic: str) -> str:
    """Return the channel of the document that a topic belongs to: the one that says most of it."""

    def matches(address: str) -> bool:
        return bool(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", address), topic))

    found = [name for name, channel in DOCUMENT["channels"].items() if matches(channel["address"])]
    assert found, f"no channel of the document is {topic}"
    fewest: str = min(found, key=lambda name: DOCUMENT["channels"][name]["address"].count("{"))
    return fewest


def faults(heard: Heard) -> list[str]:
    """Say what is wrong with a message, by the document."""
    name = channel_of(heard.topic)
    operation = next(
        o for o in DOCUMENT["operations"].values() if o["channel"]["$ref"] == f"#/channels/{name}"
    )
    travels = operation["bindings"]["mqtt"]
    wanted = (travels["qos"], travels["retain"], "messageExpiryInterval" in travels)
    found = [] if (heard.qos, heard.retain, heard.expires) == wanted else [f"{heard} travels not as {wanted}"]
    messages = [of(message) for message in DOCUMENT["channels"][name]["messages"].values()]
    text = not heard.payload or heard.content == "text/plain"
    payload = heard.payload if text else json.loads(heard.payload)
    against = {message["name"]: _against(message, payload) for message in messages}
    fitting = [message for message in messages if not against[message["name"]]]
    if not fitting:
        return [*found, f"{heard.topic} {heard.payload}: {against}"]
    return (
        found
        if fitting[0].get("contentType", "") == heard.content
        else [*found, f"{heard} is no {fitting[0]['name']}"]
    )


def _against(message: dict[str, Any], payload: object) -> list[str]:
    schema = {**message["payload"], "components": COMPONENTS}
    return [error.message for error in Draft7Validator(schema).iter_errors(payload)]


def leaks(said: str, *, disclosed: bool) -> bool:
    """Say whether a text tells what it must not."""
    return (
        bool(PATH.search(said))
        or any(secret in said for secret in SECRETS)
        or (not disclosed and MARK in said)
    )


@pytest.mark.parametrize("level", ["all", "counts", "none"])
async def test_all_that_is_told_is_in_the_document_and_tells_no_path_content_or_secret(
    tmp_path: Path, level: str
) -> None:
    run = await traffic(tmp_path, level)

    assert [fault for heard in run.told for fault in faults(heard)] == []
    occurred = {
        channel_of(heard.topic) for heard in run.heard if not heard.topic.endswith("request/teleport")
    }
    assert DOCUMENT["channels"].keys() - occurred == {OF_OTHERS, *UNSEEN_AT.get(level, ())}

    disclosed = level == "all"
    assert [e for e in run.told if leaks(e.payload, disclosed=disclosed)] == []
    assert [e.topic for e in run.told if not disclosed and MARK in e.topic] == []
    ready = json.dumps(str(run.root / "state"))
    lines = [*(line.replace(ready, "") for line in run.log), *run.manager.said]
    assert [line for line in lines if leaks(line, disclosed=True)] == []
    assert any(ready in line for line in run.log)
