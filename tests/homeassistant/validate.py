"""Checks discovery messages by Home Assistant's own schemas, and renders their templates with its own engine.

Runs under a Python that has Home Assistant: standard input is `{"messages": {name: …}, "payloads": [text, …]}`, standard
output for each name `{"errors": [sentence, …], "shown": {component: {key: [text, …]}}}`, every template rendered for every payload.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import tempfile
from typing import Any

import voluptuous
from homeassistant.components.mqtt.models import MqttCommandTemplate, MqttValueTemplate
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA, SHARED_OPTIONS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry, entity_registry, template


def checked(name: str, component: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    """Return a component as its platform's schema returns it, with what it shares with the others.

    An option that the platform does not know is an error here; Home Assistant would silently drop it.
    """
    config = dict(component)
    platform = importlib.import_module(f"homeassistant.components.mqtt.{config.pop('platform')}")
    config |= {each: message[each] for each in SHARED_OPTIONS if each in message and each not in config}
    made = platform.DISCOVERY_SCHEMA({**config, "device": message["device"], "origin": message["origin"]})
    # Known from Home Assistant 2025.10 on; the ones before drop it.
    unknown = config.keys() - made.keys() - {"default_entity_id"}
    if unknown:
        raise voluptuous.Invalid(f"{name}: {sorted(unknown)} are no options of {platform.__name__}")
    return dict(made)


def rendered(hass: HomeAssistant, config: dict[str, Any], payloads: list[str]) -> dict[str, list[str]]:
    """Return what each template shows."""
    shown: dict[str, list[str]] = {}
    this = {"this": {"attributes": {"task": "01JD", "id": 871}}}
    templates = {key: each for key, each in config.items() if isinstance(each, template.Template)}
    for each in config["availability"][1:]:  # the first is the daemon's own, without a template
        templates["availability"] = each["value_template"]
    for key, each in templates.items():
        each.hass = hass
        if key == "command_template":
            given = config.get("options") or [config["payload_press"]]
            shown[key] = [str(MqttCommandTemplate(each).async_render(text, this)) for text in given]
        else:
            value = MqttValueTemplate(each).async_render_with_possible_json_value
            shown[key] = [str(value(text, variables=this)) for text in payloads]
    return shown


def examined(hass: HomeAssistant, message: dict[str, Any], payloads: list[str]) -> dict[str, Any]:
    """Return what is wrong, and what is shown."""
    errors, shown = [], {}
    try:
        DEVICE_DISCOVERY_SCHEMA(message)
    except voluptuous.Invalid as error:
        errors.append(f"the message: {error}")
    for name, component in message["components"].items():
        try:
            shown[name] = rendered(hass, checked(name, component, message), payloads)
        except Exception as error:  # noqa: BLE001 - it is told, and a test fails
            errors.append(f"{name}: {type(error).__name__}: {error}")
    return {"errors": errors, "shown": shown}


async def main(given: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return what is found of each message; what was logged is wrong, too."""
    kept = importlib.import_module("home").Kept()
    logging.getLogger().addHandler(kept)
    hass = HomeAssistant(folder)
    template.async_setup(hass)
    await device_registry.async_load(hass)
    await entity_registry.async_load(hass)
    found = {}
    for name, message in given["messages"].items():
        found[name] = examined(hass, message, given["payloads"])
        found[name]["errors"] += kept.lines
        kept.lines = []
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        json.dump(asyncio.run(main(json.load(sys.stdin), scratch)), sys.stdout)
