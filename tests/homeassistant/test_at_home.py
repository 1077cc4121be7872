"""The whole way: a daemon, mosquitto, and Home Assistant's own core, which is asked what it shows and told what to press."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from acceptance.house import LONG, House, digits, drop_digits
from announcements import Clock, announced, announcer, model_state, states
from brokers import client, running
from finetuned.edge.homeassistant.announcer import SETTLED_S
from finetuned.edge.homeassistant.identifiers import slug
from homes import Home, at_home, homeassistant_python

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.timeout(180)
DOCUMENT = Path(__file__).parents[2] / "docs" / "home-assistant.md"
EXAMPLES = re.findall(
    r"<!-- (card|automation: \w+) -->\n```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL
)
BUILT_IN_CARDS = {
    "vertical-stack",
    "horizontal-stack",
    "tile",
    "gauge",
    "history-graph",
    "entities",
    "button",
}
ENTITY = re.compile(r"\w+\.finetuned_\w+")


@dataclass(frozen=True, slots=True)
class Household:
    """A daemon and Home Assistant; ids of entities begin with the node's."""

    house: House
    home: Home
    node: str

    async def wait(self, **expected: str | None) -> None:
        """Wait until entities of the node have these states."""
        await self.home.wait(**{self.id(name, "__"): state for name, state in expected.items()})

    def id(self, name: str, dot: str = ".") -> str:
        """Return an entity's id; `name` is `<platform>__<what it is>`."""
        platform, _, rest = name.partition("__")
        return f"{platform}{dot}{slug(f'finetuned {self.node}')}_{rest}"

    async def press(self, name: str) -> None:
        """Press a button."""
        await self.home.ask("call", "button", "press", {"entity_id": self.id(f"button__{name}")})

    async def install(self) -> None:
        """Install the candidate."""
        await self.home.ask("call", "update", "install", {"entity_id": self.id("update__digits_candidate")})

    async def attributes(self, name: str) -> dict[str, Any]:
        """Return an entity's attributes."""
        found: dict[str, Any] = (await self.home.ask("states"))[self.id(name)]["attributes"]
        return found

    def requests(self, verb: str) -> list[dict[str, Any]]:
        """Return what was requested."""
        return [payload for topic, payload in self.house.ear.heard if topic == f"request/{verb}"]


def automations() -> str:
    """Return the document's automations as configuration.yaml."""
    found = [yaml.safe_load(code) for kind, code in EXAMPLES if kind.startswith("automation")]
    assert len(found) == 2
    return yaml.safe_dump({"automation": found})


@asynccontextmanager
async def household(folder: Path, *, configuration: str = "", **settings: Any) -> AsyncIterator[Household]:  # noqa: ANN401 - as `digits`
    """Run both."""
    homeassistant_python()
    async with digits(folder, **settings) as house:
        node = await house.node()
        written = configuration.replace("pi_3fa2", slug(node)).replace("gestures", "digits")
        async with at_home(house.broker.address, folder / "homeassistant", written) as home:
            yield Household(house, home, node)
            assert await home.troubles() == []


async def test_a_node_and_its_model_appear_follow_the_daemon_s_death_and_vanish_when_forgotten(
    tmp_path: Path,
) -> None:
    async with household(tmp_path, mqtt='allow = ["forget"]') as both:
        await both.wait(sensor__digits_task="idle", select__mode="auto", binary_sensor__running="off")
        await both.wait(update__digits_candidate="off", sensor__temperature="40.0")
        states = await both.home.ask("states")
        shown = {name: (each["state"], each["category"]) for name, each in states.items()}
        assert shown[both.id("sensor__pace")] == ("full", None)
        assert shown[both.id("sensor__held_back_by")] == ("nothing", None)
        assert shown[both.id("sensor__temperature")] == ("40.0", "diagnostic")
        assert shown[both.id("binary_sensor__warnings")] == ("off", "diagnostic")
        assert shown[both.id("button__rescan_inbox")] == ("unknown", "config")
        assert shown[both.id("button__digits_pause")] == ("unavailable", None)
        assert states[both.id("sensor__digits_samples")]["attributes"]["friendly_name"] == (
            f"finetuned {both.node} digits samples"
        )
        assert not [name for name, each in states.items() if each["state"] == "None"]
        assert [each["name"] for each in await both.home.ask("devices")] == [f"finetuned {both.node}"]

        await both.house.kill()
        await both.wait(sensor__digits_task="unavailable", select__mode="unavailable")
        await both.house.start()
        await both.wait(sensor__digits_task="idle", select__mode="auto")
        answer = await both.house.request("forget", model="digits")
        assert answer["status"] == "ok", answer
        await both.wait(sensor__digits_task=None, update__digits_candidate=None, button__digits_train=None)
        await both.wait(select__mode="auto")


async def test_what_is_pressed_and_chosen_is_done(tmp_path: Path) -> None:
    async with household(tmp_path, parameters=LONG, least=1000) as both:
        await both.wait(select__mode="auto", sensor__digits_samples="0")
        drop_digits(both.house)
        await both.wait(sensor__digits_samples="100", button__digits_train="unknown")
        await both.press("digits_train")
        await both.wait(sensor__digits_task="running", button__digits_train="unavailable")
        await both.wait(binary_sensor__running="on", sensor__digits_held_back_by="nothing")
        await both.press("digits_pause")
        await both.wait(sensor__digits_task="suspended", binary_sensor__running="off")
        await both.wait(sensor__digits_held_back_by="a person")
        assert (await both.attributes("sensor__digits_task"))["reasons"] == ["user"]
        await both.press("digits_resume")
        await both.wait(sensor__digits_task="running")
        await both.home.ask(
            "call", "select", "select_option", {"entity_id": both.id("select__mode"), "option": "never"}
        )
        await both.wait(select__mode="never", sensor__held_back_by="the mode", sensor__pace="paused")
        await both.press("digits_cancel")
        await both.wait(sensor__digits_task="idle", button__digits_cancel="unavailable")
        await both.house.ear.event("cancelled")
        said = [payload for topic, payload in both.house.ear.heard if topic.startswith("response/")]
        assert [each["status"] for each in said] == ["ok"] * 5
        assert len({each["transaction"] for each in said}) == 5


async def test_a_candidate_is_an_update_whose_installation_promotes_it_as_often_as_there_is_one(
    tmp_path: Path,
) -> None:
    async with household(tmp_path, parameters={"epochs": 30}) as both:
        drop_digits(both.house)
        await both.wait(sensor__digits_version="1", update__digits_candidate="off")
        summary = (await both.attributes("update__digits_candidate"))["release_summary"]
        assert summary.startswith("in use: accuracy "), "there is no other"
        for _ in range(2):
            await both.press("digits_roll_back")
            await both.wait(sensor__digits_version="0", update__digits_candidate="on")
            found = await both.attributes("update__digits_candidate")
            assert (found["installed_version"], found["latest_version"]) == ("0", "1")
            await both.install()
            await both.wait(sensor__digits_version="1", update__digits_candidate="off")
        asked = both.requests("promote")
        assert [(each["model"], each["version"]) for each in asked] == [("digits", 1)] * 2


async def test_everything_is_announced_again_when_home_assistant_has_started(tmp_path: Path) -> None:
    async with digits(tmp_path) as house, client(house.broker.address) as listener:
        topic = f"homeassistant/device/{await house.node()}/config"
        await listener.subscribe(topic, qos=1)
        first = await anext(listener.messages)
        await house.client.publish("homeassistant/status", b"online", qos=1)
        async with asyncio.timeout(20):
            again = await anext(listener.messages)
        told, before = json.loads(again.payload), json.loads(first.payload)
        assert told["components"].keys() >= before["components"].keys() > {"mode", "event"}


# ── the document's examples ─────────────────────────────────────────────────────────────────────
async def test_the_automations_tell_of_a_completed_training_and_pause_while_somebody_plays(
    tmp_path: Path,
) -> None:
    async with household(tmp_path, configuration=automations(), parameters={"epochs": 30}) as both:
        await both.home.wait(automation__training_completed="on", automation__no_training_while_gaming="on")
        await both.wait(select__mode="auto", sensor__digits_task="idle")
        await both.home.ask("show", "media_player.console", "off")
        await both.home.ask("show", "media_player.console", "on")
        await both.wait(select__mode="never")
        await both.home.ask("show", "media_player.console", "off")
        await both.wait(select__mode="auto")
        drop_digits(both.house)
        told = await both.home.ask("told")
        assert told == "digits, version 1: promoted (better on 20 held-out samples)"
        event = await both.house.ear.event("completed")
        for sent in (event, {**event, "id": event["id"] + 99, "version": 2}):  # the first of them again
            topic = f"finetuned/{both.node}/event/completed"
            await both.house.client.publish(topic, json.dumps(sent), qos=1)
        assert (await both.home.ask("told")).startswith("digits, version 2: ")


def cards(card: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a card and those in it."""
    yield card
    for inner in card.get("cards", ()):
        yield from cards(inner)


def test_the_examples_name_entities_that_there_are_and_cards_that_are_built_in() -> None:
    message = announced({"model/gestures": model_state(model="gestures")}, readings={"thermal": 40.0})
    there = {part["default_entity_id"] for part in message["components"].values()}
    named = {name for _, code in EXAMPLES for name in ENTITY.findall(code)}
    assert len(named) > 10
    assert named <= there
    (card,) = (yaml.safe_load(code) for kind, code in EXAMPLES if kind == "card")
    assert {each["type"] for each in cards(card)} == BUILT_IN_CARDS


# ── Home Assistant's own ways ───────────────────────────────────────────────────────────────────
async def test_models_that_come_and_go_in_quick_succession_are_shown_as_they_are_in_the_end(
    tmp_path: Path,
) -> None:
    clock = Clock()
    ours, models = announcer(clock=clock), [f"m{number}" for number in range(9)]
    cancel = "button__finetuned_pi_3fa2_{}_cancel".format
    async with running("mosquitto", tmp_path) as broker, client(broker.address) as publisher:

        async def announce(*names: str) -> None:
            shown = states({f"model/{name}": model_state(model=name, candidate=1) for name in names})
            for notice in ours.due(shown):
                await publisher.publish(notice.topic, notice.payload, qos=1, retain=True)

        async def calm(home: Home, *names: str) -> None:
            """Let it be calm for as long as the bridge needs to have said everything."""
            for _ in range(3):
                await home.ask("settle")
                clock.now += SETTLED_S
                await announce(*names)

        await publisher.publish("finetuned/pi-3fa2/availability", b"online", qos=1, retain=True)
        await publisher.subscribe("homeassistant/status", qos=1)
        async with at_home(broker.address, tmp_path / "homeassistant") as home:
            await anext(publisher.messages)  # Home Assistant's birth: from here on it listens
            for count in range(1, len(models) + 1):
                await announce(*models[:count])
            await calm(home, *models)
            await home.wait(**{cancel(name): "unavailable" for name in models})
            await announce(*models[:4], "m8")
            await announce("m0", "m8")
            await calm(home, "m0", "m8")
            there = {cancel(name): "unavailable" for name in ("m0", "m8")}
            await home.wait(**there, **{cancel(name): None for name in models[1:8]})
            assert await home.troubles() == []
        async with at_home(broker.address, tmp_path / "restarted") as home:
            await home.wait(**there, **{cancel("m1"): None})
            assert await home.troubles() == []
