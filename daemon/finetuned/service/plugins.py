"""Plugins: what they may bring, and how they are found, checked and asked.

A plugin is a module that stands in the entry point group `finetuned` and implements some of the hooks below with
`@hookimpl`.  Its module must be cheap to import, since the daemon imports it: numpy, PIL and the like belong inside
the functions that need them, which run in the decoder's process.  A plugin that does not keep its contract is a
`PluginError` that names it; the others still load.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pluggy

from finetuned.errors import PluginError
from finetuned.policy.zones import QUANTITIES, Sensor
from finetuned.service.executor import Capabilities, Executor
from finetuned.service.opinions import SecondOpinion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from finetuned.service.machine import Machine
    from finetuned.service.messages import InputSpec

GROUP = "finetuned"
ZONES = tuple(QUANTITIES)
AWAITED = ("submit", "control", "drain", "close")
LOCAL = "local"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)

__all__ = ["Decoder", "Hooks", "Plugins", "Sensor", "hookimpl", "load"]


# ── the sockets ─────────────────────────────────────────────────────────────────────────────────
@runtime_checkable
class Decoder(Protocol):
    """Turns a file's bytes into one input of a model; `suffixes` (`.jpg`, lower case) are those it knows best."""

    @property
    def name(self) -> str:
        """A word for reports."""

    @property
    def suffixes(self) -> frozenset[str]:
        """The suffixes that this decoder is tried first for; a file of any other is offered to all."""

    def decode(self, data: bytes, want: InputSpec) -> bytes:
        """Return an array of `want.shape` and `want.dtype` in C order; raise `SampleError` with a sentence."""


class Hooks:
    """The hooks that a plugin may implement."""

    @hookspec
    def finetuned_decoders(self) -> list[Decoder]:
        """Return the decoders that this plugin brings."""
        raise NotImplementedError

    @hookspec
    def finetuned_sensors(self, machine: Machine) -> list[Sensor]:
        """Return the sensors that this plugin brings; what they may read, and what they are asked for, `machine` says."""
        raise NotImplementedError

    @hookspec
    def finetuned_executors(self) -> list[Executor]:
        """Return the executors that this plugin brings; the configuration chooses one by its name."""
        raise NotImplementedError

    @hookspec
    def finetuned_opinions(self) -> list[SecondOpinion]:
        """Return whom this plugin can ask for a second opinion; an option of `check` chooses one by its name."""
        raise NotImplementedError


# ── finding and asking them ─────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Plugins:
    """The plugins that could be loaded, and an error for each that could not."""

    manager: pluggy.PluginManager
    errors: list[PluginError] = field(default_factory=list)

    def decoders(self) -> list[Decoder]:
        """Ask every plugin for its decoders; one that answers wrongly is added to `errors` and left out."""
        return self._ask(self.manager.hook.finetuned_decoders, decoder_faults)

    def sensors(self, machine: Machine) -> list[Sensor]:
        """Ask every plugin for its sensors of this machine; one that answers wrongly is left out."""
        return self._ask(self.manager.hook.finetuned_sensors, sensor_faults, machine=machine)

    def executors(self) -> list[Executor]:
        """Ask every plugin for its executors; one that answers wrongly is left out, and so is a second of a name."""
        taken: set[str] = set()

        def faults(item: object) -> str:
            if fault := executor_faults(item):
                return fault
            name = getattr(item, "name", "")
            if name in taken:
                return f"another plugin has an executor of the name {name!r}"
            taken.add(name)
            return ""

        return self._ask(self.manager.hook.finetuned_executors, faults)

    def opinions(self) -> list[SecondOpinion]:
        """Ask every plugin whom it can ask for a second opinion; one that answers wrongly is left out."""
        return self._ask(self.manager.hook.finetuned_opinions, opinion_faults)

    def _ask(self, hook: Any, faults: Callable[[object], str], **arguments: object) -> list[Any]:  # noqa: ANN401 - pluggy's hooks have no type
        answers: list[Any] = []
        for plugin in hook.get_hookimpls():
            given = {name: arguments[name] for name in plugin.argnames}
            try:
                answers += _checked(plugin.function(**given), faults)
            except Exception as error:  # noqa: BLE001 - whatever a stranger's code raises is the plugin's fault
                self.errors.append(_fault(plugin.plugin_name, error))
        return answers


def load(entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> Plugins:
    """Import and register the plugins of the entry point group; `entry_points` replaces the installed ones."""
    plugins = Plugins(manager=pluggy.PluginManager(GROUP))
    plugins.manager.add_hookspecs(Hooks)
    for entry in importlib.metadata.entry_points(group=GROUP) if entry_points is None else entry_points:
        try:
            _register(plugins.manager, entry)
        except Exception as error:  # noqa: BLE001 - importing a stranger's module may raise anything
            plugins.errors.append(_fault(entry.name, error))
    return plugins


def _register(manager: pluggy.PluginManager, entry: importlib.metadata.EntryPoint) -> None:
    """Register one plugin, or leave no trace of it and raise."""
    if manager.get_plugin(entry.name):
        raise PluginError("its name is taken by another plugin")
    plugin = entry.load()
    manager.register(plugin, entry.name)
    try:
        _check_hooks(manager, plugin)
    except Exception:
        manager.unregister(plugin)
        raise


def _check_hooks(manager: pluggy.PluginManager, plugin: object) -> None:
    """Refuse a plugin whose hooks are none of ours, or that has none."""
    manager.check_pending()
    if not manager.get_hookcallers(plugin):
        raise PluginError("it implements no hook of finetuned; is @hookimpl missing?")


def _fault(name: str, error: Exception) -> PluginError:
    said = error if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
    return PluginError(f"the plugin {name} is left out: {said}")


# ── the contracts ───────────────────────────────────────────────────────────────────────────────
def _checked(answer: object, faults: Callable[[object], str]) -> list[object]:
    """Return `answer` if it is a list of values without faults; raise `PluginError` otherwise."""
    if not isinstance(answer, list):
        raise PluginError(f"its hook returned {type(answer).__name__}, not a list")
    for item in answer:
        if fault := faults(item):
            raise PluginError(f"{item!r:.80}: {fault}")
    return answer


def decoder_faults(item: object) -> str:
    """Say what keeps `item` from being a decoder, or nothing."""
    if not isinstance(item, Decoder):
        return "a decoder has name, suffixes and decode(data, want)"
    suffixes: object = item.suffixes
    if not isinstance(suffixes, frozenset):
        return "a decoder's suffixes are a frozenset"
    bad = [suffix for suffix in suffixes if not suffix.startswith(".") or suffix != suffix.lower()]
    return f"a suffix begins with a dot and is lower case, unlike {bad[0]!r}" if bad else ""


def sensor_faults(item: object) -> str:
    """Say what keeps `item` from being a sensor, or nothing."""
    missing = [name for name in ("zone", "name", "read") if not hasattr(item, name)]
    if missing:
        return f"a sensor has zone, name and read(); there is no {' and no '.join(missing)}"
    zone = getattr(item, "zone", "")
    return "" if zone in ZONES else f"a sensor's zone is one of {', '.join(ZONES)}, not {zone!r}"


def executor_faults(item: object) -> str:
    """Say what keeps `item` from being an executor, or nothing."""
    if not isinstance(item, Executor):
        return "an executor has name, capabilities, submit, control, events, drain and close"
    name: object = item.name
    if not isinstance(name, str) or not name:
        return f"an executor's name is a word, unlike {name!r}"
    if name == LOCAL:
        return f"the name {LOCAL!r} is the bundled executor's"
    capabilities: object = item.capabilities
    if not isinstance(capabilities, Capabilities):
        return f"an executor's capabilities are Capabilities, not {type(capabilities).__name__}"
    plain = [word for word in AWAITED if not inspect.iscoroutinefunction(getattr(item, word))]
    return f"an executor's {plain[0]} is an async function" if plain else ""


def opinion_faults(item: object) -> str:
    """Say what keeps `item` from giving a second opinion, or nothing."""
    return "" if isinstance(item, SecondOpinion) else "a second opinion has name and judge(data)"
