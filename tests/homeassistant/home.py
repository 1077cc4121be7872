"""A home for the tests: Home Assistant's own core with its MQTT integration and automations, nothing else.

It runs under a Python that has Home Assistant: `home.py HOST PORT USER PASSWORD FOLDER` reads what is asked as lines of JSON
from standard input (`["call", "button", "press", {...}]`) and answers each with one.  FOLDER holds configuration.yaml.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

from homeassistant.components import mqtt, persistent_notification
from homeassistant.config import async_hass_config_yaml
from homeassistant.config_entries import ConfigEntries, ConfigEntry
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import (
    area_registry,
    category_registry,
    device_registry,
    entity,
    entity_registry,
    floor_registry,
    frame,
    issue_registry,
    label_registry,
    restore_state,
    template,
    translation,
)
from homeassistant.setup import async_setup_component

from homeassistant import auth, loader

REGISTRIES = (
    device_registry,
    entity_registry,
    area_registry,
    category_registry,
    floor_registry,
    issue_registry,
    label_registry,
    restore_state,
)
PATIENCE_S = 30
ECHO = "test/echo"
BUILT_IN = {"http", "file_upload", "websocket_api"}
"""What MQTT names as its dependencies is for its dialogs: no web server is wanted here."""


class Kept(logging.Handler):
    """Keeps what is logged from warnings on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        """Keep one."""
        self.lines.append(self.format(record))


async def begun(folder: str, broker: dict[str, Any]) -> HomeAssistant:
    """Start a core that knows one broker."""
    hass = HomeAssistant(folder)
    hass.config.skip_pip = True
    hass.config.components |= BUILT_IN
    hass.config_entries = ConfigEntries(hass, {})
    loader.async_setup(hass)
    for helper in (entity, frame, template, translation):
        helper.async_setup(hass)
    for registry in REGISTRIES:
        await registry.async_load(hass)
    await hass.config_entries.async_initialize()
    hass.auth = await auth.auth_manager_from_config(hass, [{"type": "homeassistant"}], [])
    hass.set_state(CoreState.running)
    written = await async_hass_config_yaml(hass)
    for component in ("homeassistant", "persistent_notification", "automation"):
        assert await async_setup_component(hass, component, written), component
    entry = ConfigEntry(
        data=broker,
        discovery_keys={},
        domain="mqtt",
        minor_version=2,
        options={},
        source="user",
        subentries_data=None,
        title="broker",
        unique_id=None,
        version=1,
    )
    await hass.config_entries.async_add(entry)
    await hass.async_block_till_done(wait_background_tasks=False)
    return hass


class Home:
    """Answers what is asked."""

    def __init__(self, hass: HomeAssistant, kept: Kept) -> None:
        self.hass, self.kept = hass, kept
        self.messages: asyncio.Queue[str] = asyncio.Queue()
        persistent_notification.async_register_callback(hass, self.notified)

    async def wait(self, expected: dict[str, str | None]) -> dict[str, Any]:
        """Wait until these entities have these states (None: they are gone); return what is not as expected in the end."""
        changed = asyncio.Event()
        leave = self.hass.bus.async_listen(EVENT_STATE_CHANGED, lambda _: changed.set())
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self._others(expected):
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            leave()
        return self._others(expected)

    def _others(self, expected: dict[str, str | None]) -> dict[str, str | None]:
        now = {name: self.hass.states.get(name) for name in expected}
        shown = {name: state and state.state for name, state in now.items()}
        return {name: state for name, state in shown.items() if state != expected[name]}

    async def settle(self) -> None:
        """Wait until all that the broker has so far has been heard, and is set up."""
        echoed = asyncio.Event()

        async def hear(_message: object) -> None:
            echoed.set()

        await mqtt.async_publish(
            self.hass, ECHO, "retained: it comes with the subscription", qos=1, retain=True
        )
        leave = await mqtt.async_subscribe(self.hass, ECHO, hear)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await echoed.wait()
            await self.hass.async_block_till_done(wait_background_tasks=False)
        finally:
            leave()

    async def show(self, name: str, state: str) -> None:
        """Let another device of the home be in a state."""
        self.hass.states.async_set(name, state)

    def notified(self, kind: object, notifications: dict[str, Any]) -> None:
        """Hear what people are told."""
        if kind == persistent_notification.UpdateType.ADDED:
            for each in notifications.values():
                self.messages.put_nowait(each["message"])

    async def told(self) -> str:
        """Return what people were told next."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.messages.get()

    async def states(self) -> dict[str, Any]:
        """Every entity's state, attributes, and what the registry knows of it."""
        registry = entity_registry.async_get(self.hass)
        found = {}
        for state in self.hass.states.async_all():
            entry = registry.async_get(state.entity_id)
            category = entry.entity_category if entry else None
            found[state.entity_id] = {
                "state": state.state,
                "attributes": dict(state.attributes),
                "category": category and category.value,
                "unique": entry and entry.unique_id,
            }
        return found

    async def call(self, domain: str, service: str, data: dict[str, Any]) -> None:
        """Do what a person does on the dashboard."""
        await self.hass.services.async_call(domain, service, data, blocking=True)

    async def devices(self) -> list[dict[str, Any]]:
        """The devices."""
        known = device_registry.async_get(self.hass).devices.values()
        return [
            {"name": each.name, "model": each.model, "manufacturer": each.manufacturer, "sw": each.sw_version}
            for each in known
        ]

    async def log(self) -> list[str]:
        """What was logged since the last time."""
        lines, self.kept.lines = self.kept.lines, []
        return lines


async def lines() -> asyncio.StreamReader:
    """Return standard input, line by line."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


async def main(host: str, port: str, user: str, password: str, folder: str) -> None:
    """Live until standard input ends."""
    kept = Kept()
    logging.getLogger().addHandler(kept)
    broker = {"broker": host, "port": int(port), "username": user, "password": password}
    hass = await begun(folder, broker)
    home, asked = Home(hass, kept), await lines()
    print(json.dumps("ready"), flush=True)  # noqa: T201 - the answer
    while line := await asked.readline():
        verb, *arguments = json.loads(line)
        try:
            answer = await getattr(home, verb)(*arguments)
        except Exception as error:  # noqa: BLE001 - it is told, and a test fails
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=str), flush=True)  # noqa: T201
    await hass.async_stop(force=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
