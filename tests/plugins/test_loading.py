from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from finetuned.service.machine import Machine
from finetuned.service.plugins import load

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HEAD = "from finetuned.service.plugins import hookimpl\n"
GOOD = """
class Good:
    name, suffixes = "good", frozenset({".good"})
    zone = "thermal"
    def decode(self, data, want): return data
    def read(self): return ()
"""


def entries(folder: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> Iterable[EntryPoint]:
    """Write modules and return the entry points that a distribution of them would have."""
    monkeypatch.syspath_prepend(folder)
    for name, source in modules.items():
        monkeypatch.delitem(sys.modules, name, raising=False)
        (folder / f"{name}.py").write_text(HEAD + GOOD + source)
    return [EntryPoint(name, name, "finetuned") for name in modules]


def test_the_bundled_decoders_are_found() -> None:
    plugins = load()
    assert {"pictures", "arrays"} <= {decoder.name for decoder in plugins.decoders()}
    assert plugins.errors == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError"),
        ("", "implements no hook"),
        ("@hookimpl\ndef finetuned_decoderz(): return []", "finetuned_decoderz"),
        ("@hookimpl\ndef finetuned_decoders(wrong): return []", "wrong"),
        ("@hookimpl\ndef finetuned_decoders(): return Good()", "returned Good, not a list"),
        ("@hookimpl\ndef finetuned_decoders(): raise OSError('gone')", "OSError: gone"),
        ("@hookimpl\ndef finetuned_decoders(): return [3]", "3: a decoder has name, suffixes and decode"),
        ("Good.suffixes = {'.a'}\n@hookimpl\ndef finetuned_decoders(): return [Good()]", "are a frozenset"),
        (
            "Good.suffixes = frozenset({'A'})\n@hookimpl\ndef finetuned_decoders(): return [Good()]",
            "unlike 'A'",
        ),
    ],
)
def test_a_plugin_that_breaks_its_contract_is_named_and_the_others_still_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, complaint: str
) -> None:
    fine = "@hookimpl\ndef finetuned_decoders(): return [Good()]"
    plugins = load(entries(tmp_path, monkeypatch, bad_one=source, fine_one=fine))
    assert [decoder.name for decoder in plugins.decoders()] == ["good"]
    (error,) = plugins.errors
    assert "the plugin bad_one is left out" in str(error)
    assert complaint in str(error)


def test_a_sensor_must_name_a_zone_of_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = "@hookimpl\ndef finetuned_sensors(machine): return [Good()]"
    odd = "Good.zone = 'mood'\n@hookimpl\ndef finetuned_sensors(): return [Good()]"
    plugins = load(entries(tmp_path, monkeypatch, odd_one=odd, calm_one=fine))
    assert [sensor.name for sensor in plugins.sensors(Machine())] == ["good"]
    assert "zone is one of thermal, gpu" in str(plugins.errors[0])


EXECUTOR = """
from finetuned.service.executor import Capabilities
class Cluster:
    name, capabilities = "cluster", Capabilities(places=64)
    async def submit(self, spec, attempt, resume_from=()): ...
    async def control(self, task, attempt, command): ...
    def events(self): ...
    async def drain(self, grace_s): ...
    async def close(self): ...
@hookimpl
def finetuned_executors(): return [Cluster()]
"""


def test_a_plugins_executor_is_found_and_a_second_of_its_name_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = load(entries(tmp_path, monkeypatch, one=EXECUTOR, two=EXECUTOR))
    assert [executor.capabilities.places for executor in plugins.executors()] == [64]
    assert "another plugin has an executor of the name 'cluster'" in str(plugins.errors[0])


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("del Cluster.drain", "an executor has name, capabilities, submit"),
        ("Cluster.name = 'local'", "the name 'local' is the bundled executor's"),
        ("Cluster.name = None", "a word, unlike None"),
        ("Cluster.capabilities = 64", "are Capabilities, not int"),
        ("Cluster.close = lambda self: None", "close is an async function"),
    ],
)
def test_an_executor_that_breaks_its_contract_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, complaint: str
) -> None:
    plugins = load(entries(tmp_path, monkeypatch, bad_cluster=EXECUTOR + source))
    assert plugins.executors() == []
    assert complaint in str(plugins.errors[0])


def test_loading_the_bundled_plugins_imports_no_heavy_library() -> None:
    heavy = {"numpy", "PIL", "onnx", "onnxruntime", "google.protobuf", "rich"}
    program = f"import sys; from finetuned.service.plugins import load; load().decoders(); print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
