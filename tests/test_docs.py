"""The documents say what the code does: examples are run, tables are generated, links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.main import get_command

from finetuned import InputSpec, SampleError, decode, reasons
from finetuned.edge.cli import app
from finetuned.service import plugins
from finetuned.spec import author
from shared import oracle

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])
NUMBER = re.compile(r"\d+(\.\d+)?")


def blocks(document: str, example: str) -> list[str]:
    """The fenced blocks of an example: its code, and what it prints, where that stands below."""
    text = (ROOT / document).read_text(encoding="utf-8")
    part = text.partition(f"<!-- example: {example} -->")[2].partition("<!-- end -->")[0]
    return re.findall(r"```\w+\n(.*?)```", part, re.DOTALL)


def ran(code: str, folder: Path) -> list[str]:
    """Run a script as a user would, in an interpreter of its own; return the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def module(name: str, code: str, folder: Path) -> ModuleType:
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    return loaded(name, folder / f"{name}.py")


def loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found  # its dataclasses look themselves up
    spec.loader.exec_module(found)
    return found


# ── examples ────────────────────────────────────────────────────────────────────────────────────
def test_the_readmes_example_prints_what_stands_below_it_and_writes_a_better_model(tmp_path: Path) -> None:
    code, shown = blocks("README.md", "update task")
    printed = ran(code, tmp_path)
    # Another processor's last bits may show in a digit: the words must be the same, and the point made.
    assert [NUMBER.sub("#", line) for line in printed] == [
        NUMBER.sub("#", line) for line in shown.splitlines()
    ]
    before, after = (float(NUMBER.match(line)[0]) for line in (printed[0], printed[-1]))  # type: ignore[index]  # they begin with a number
    assert before < 20
    assert after > 75
    assert decode((tmp_path / "mine.mlmodel").read_bytes()).updatable


@pytest.mark.parametrize(
    ("example", "written"),
    [("handlers", "so-far.mlmodel"), ("async", "best.mlmodel"), ("checkpoint", "task.checkpoint")],
)
def test_the_examples_of_the_python_face_print_what_stands_below_them(
    tmp_path: Path, example: str, written: str
) -> None:
    code, shown = blocks("docs/python.md", example)
    # As above: digits may differ elsewhere, and an early stop come an epoch sooner.
    printed, wanted = (
        [NUMBER.sub("#", line) for line in each] for each in (ran(code, tmp_path), shown.splitlines())
    )
    assert list(dict.fromkeys(printed)) == list(dict.fromkeys(wanted))
    assert [path.name for path in tmp_path.iterdir()] == [written]


def test_the_authored_model_of_the_documents_can_be_updated(tmp_path: Path) -> None:
    (code,) = blocks("docs/models.md", "author")
    ran(code, tmp_path)
    assert reasons(decode((tmp_path / "steps.mlmodel").read_bytes())) == ()


def test_the_authors_example_prints_what_stands_below_it(tmp_path: Path) -> None:
    code, shown = blocks("docs/author.md", "author")
    assert ran(code, tmp_path) == shown.splitlines()


def test_every_command_of_the_authors_page_can_be_typed() -> None:
    text = (ROOT / "docs" / "author.md").read_text(encoding="utf-8")
    typed = [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("finetuned ")]
    assert len(typed) > 8
    for words in typed:
        found: Any = get_command(app)
        while isinstance(getattr(found, "commands", None), dict):
            found = found.commands[words.pop(0)]
        found.make_context(found.name, words)  # refuses an option that there is not


# Where executorch is installed, coremltools imports it, and that warns of all that it imports.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_coremltools_example_makes_a_model_that_can_be_updated(tmp_path: Path) -> None:
    oracle("coremltools")
    head = author.Dense(weights=np.ones((2, 3), np.float32), bias=np.zeros(2, np.float32), name="head")
    model = author.classifier(
        input=author.ArrayInput(size=3), layers=[head], labels=["a", "b"], probabilities="probabilities"
    )
    (tmp_path / "classifier.mlmodel").write_bytes(model)
    (code,) = blocks("docs/models.md", "coremltools")
    ran(code, tmp_path)
    assert reasons(decode((tmp_path / "updatable.mlmodel").read_bytes())) == ()


def test_the_documents_decoder_keeps_the_contract(tmp_path: Path) -> None:
    (code,) = blocks("docs/plugins.md", "decoder")
    (decoder,) = module("lines_of_the_documents", code, tmp_path).finetuned_decoders()
    want = InputSpec(name="features", shape=(3,))
    assert plugins.decoder_faults(decoder) == ""
    assert np.frombuffer(decoder.decode(b"1\n2.5\n-3\n", want), "<f4").tolist() == [1.0, 2.5, -3.0]
    for wrong in (b"1\n2\n", b"1\ntwo\n3\n", b"\xff"):
        with pytest.raises(SampleError):
            decoder.decode(wrong, want)


def test_the_documents_sensor_keeps_the_contract(tmp_path: Path) -> None:
    (code,) = blocks("docs/plugins.md", "sensor")
    found = module("enclosure_of_the_documents", code, tmp_path)
    (tmp_path / "celsius").write_text("41.5\n")
    (sensor,) = found.finetuned_sensors()
    assert plugins.sensor_faults(sensor) == ""
    assert found.Enclosure(path=tmp_path / "celsius").read().value == 41.5


@pytest.mark.parametrize("name", ["decoder", "sensor"])
def test_a_plugin_takes_forty_lines(name: str) -> None:
    (code,) = blocks("docs/plugins.md", name)
    assert len(code.splitlines()) <= 40


# ── tables ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_generated_tables_are_those_of_the_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert loaded("docs_tool", ROOT / "tools" / "docs.py").rendered(text) == text, "run: python tools/docs.py"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_that_are_there(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_readme_names_every_dependency_and_no_other() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = set(
        re.findall(
            r'^    "([a-z]+)[>=]', project.partition("dependencies = [")[2].partition("]")[0], re.MULTILINE
        )
    )
    rows = re.findall(r"^\| ([a-z][^|]*) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {re.sub(r" \(.*\)", "", name) for row in rows for name in row.split(", ") if name != "package"}
    assert named - {"coremltools", "nvidia-ml-py", "dbus-fast"} == needed
