"""The staircase of imports: which room may know of which, which stays pure, and what the daemon never loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import finetuned

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PLUGINS = ROOT / "plugins" / "finetuned_plugins"
SOURCES = (ROOT / "daemon", ROOT / "plugins")

# ── the plan ────────────────────────────────────────────────────────────────────────────────────
GROUND = {"errors", "states", "parameters", "labels"}
MAY_KNOW = {
    "errors": set(),
    "files": {"errors"},
    "rows": {"errors", "files"},
    "states": {"errors"},
    "parameters": {"errors"},
    "labels": set(),
    "spec": GROUND,
    "graph": GROUND | {"spec"},
    "update": GROUND | {"files", "rows", "spec", "graph"},
    "policy": GROUND,
    "service": GROUND | {"files", "rows", "policy"},
    "edge": GROUND | {"files", "policy", "service"},
    "__main__": {"edge"},
    "plugins": {""},
}
"""Room → the rooms that it may import from beside itself; "" is the public face."""

ENGINE = {"spec", "graph", "update"}
ENGINE_MODULES = {
    # in the worker's process
    "finetuned.service.worker",
    "finetuned.service.work",
    "finetuned.service.frozen",
    "finetuned.service.describe",
    # what commands and scripts do with data
    "finetuned.service.dataset",
    "finetuned.service.training_data",
    "finetuned.edge.author_changes",
    "finetuned.edge.author_commands",
    "finetuned.edge.author_samples",
    "finetuned.edge.demo",
    "finetuned.edge.measuring",
    "finetuned.edge.model_cli",
    "finetuned.edge.resuming",
    "finetuned.edge.storing",
    "finetuned.edge.update_cli",
}
"""The modules of service and edge that may know the engine; none of them is ever part of the daemon."""

PURE = {"errors", "states", "parameters", "labels", "spec", "graph", "policy"}
IMPURE = {"asyncio", "sqlite3", "socket", "subprocess", "threading", "time", "onnxruntime"}
NO_CLOCK_LOOP_FILES = {"asyncio", "time", "pathlib", "finetuned.files"}
FOR_SCRIPTS = {"finetuned.update.task", "finetuned.update.stream", "finetuned.update.updated_model"}
"""The Python face: a script's event loop and its files, around the engine that knows of neither."""
ONNXRUNTIME = "finetuned.update.session"
PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
NOT_IN_THE_DAEMON = {"numpy", "onnxruntime", "onnx", "google.protobuf", "PIL", "rich", "pydantic", "typer"}

LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 400, 50


# ── reading the sources ─────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module; `name` is what is taken from it ("" for `import module`)."""

    importer: str
    module: str
    name: str
    line: int
    for_types: bool

    def __str__(self) -> str:
        """Where it stands."""
        return f"{self.importer}:{self.line} imports {self.module}{f' ({self.name})' if self.name else ''}"


@cache
def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name; generated ones are left out."""
    found = {}
    for source in SOURCES:
        for path in sorted(source.rglob("*.py")):
            if not path.name.endswith("_pb2.py"):
                dotted = ".".join(path.relative_to(source).with_suffix("").parts)
                found[dotted.removesuffix(".__init__")] = path
    return found


@cache
def imports() -> tuple[Import, ...]:
    """Every import of every module, wherever in it; `from package import module` is an import of that module."""
    return tuple(
        found
        for importer, path in modules().items()
        for statement, for_types in _statements(ast.parse(path.read_text(encoding="utf-8")), for_types=False)
        for found in _imports(importer, statement, for_types=for_types)
    )


def _statements(node: ast.AST, *, for_types: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, for_types
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for below in child.body:
                yield from _statements(ast.Module(body=[below], type_ignores=[]), for_types=True)
        else:
            yield from _statements(child, for_types=for_types)


def _imports(importer: str, statement: ast.Import | ast.ImportFrom, *, for_types: bool) -> Iterator[Import]:
    for alias in statement.names:
        module, name = alias.name, ""
        if isinstance(statement, ast.ImportFrom):
            assert not statement.level, f"{importer}:{statement.lineno} is a relative import"
            base = str(statement.module)
            module, name = (
                (f"{base}.{alias.name}", "") if f"{base}.{alias.name}" in modules() else (base, alias.name)
            )
        yield Import(importer=importer, module=module, name=name, line=statement.lineno, for_types=for_types)


def room(module: str) -> str:
    """The room that a module of ours lives in; "" for the public face."""
    first, *rest = module.split(".")
    return "plugins" if first == "finetuned_plugins" else (rest or [""])[0]


def is_ours(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] in {"finetuned", "finetuned_plugins"}


def is_of(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


# ── the tests ───────────────────────────────────────────────────────────────────────────────────
def test_a_room_imports_from_itself_and_from_rooms_below_it() -> None:
    wrong = [
        str(found)
        for found in imports()
        if is_ours(found.module)
        and found.importer != "finetuned"  # the public face names everything, lazily
        and (found.module, found.name) != ("finetuned", "__version__")
        and room(found.module) not in {room(found.importer)} | MAY_KNOW[room(found.importer)]
        and not (found.importer in ENGINE_MODULES and room(found.module) in ENGINE)
    ]
    assert wrong == []


def test_the_modules_that_know_the_engine_are_those_listed_and_only_they_import_each_other() -> None:
    of_the_daemon = [
        str(found)
        for found in imports()
        if found.module in ENGINE_MODULES
        and found.importer
        not in ENGINE_MODULES | {"finetuned", "finetuned.edge.cli", "finetuned.edge.author_cli"}
    ]
    assert of_the_daemon == []
    assert modules().keys() >= ENGINE_MODULES


def test_plugins_import_the_public_face_alone() -> None:
    wrong = [
        str(found)
        for found in imports()
        if room(found.importer) == "plugins"
        and is_ours(found.module)
        and room(found.module) != "plugins"
        and (found.module != "finetuned" or found.name not in finetuned.__all__)
    ]
    assert wrong == []


def test_pure_rooms_know_no_clock_no_loop_no_disk_and_no_process() -> None:
    assert _imported(PURE, IMPURE) == []


def test_the_engine_knows_no_clock_loop_or_files_and_onnxruntime_in_one_module() -> None:
    known = _imported({"update"}, NO_CLOCK_LOOP_FILES)
    assert {found.partition(":")[0] for found in known} == FOR_SCRIPTS
    engine = {found.importer for found in imports() if room(found.importer) == "update"} - FOR_SCRIPTS
    faces = [
        str(f) for f in imports() if f.importer in engine and f.module in FOR_SCRIPTS and not f.for_types
    ]
    assert faces == []
    assert {found.importer for found in imports() if is_of(found.module, {"onnxruntime"})} == {ONNXRUNTIME}


def _imported(rooms: set[str], packages: set[str]) -> list[str]:
    return [
        str(found)
        for found in imports()
        if room(found.importer) in rooms and is_of(found.module, packages) and not found.for_types
    ]


def test_nothing_can_unpickle() -> None:
    assert [str(found) for found in imports() if is_of(found.module, PICKLES)] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = {
        (found.importer, found.module)
        for found in imports()
        if found.module in modules() and not found.for_types
    }
    edges = {(importer, imported) for importer, imported in known if importer != imported}
    # Whoever imports nothing, or is imported by nobody, is on no circle; what is left in the end are circles.
    while edges:
        importers, imported = ({edge[side] for edge in edges} for side in (0, 1))
        left = {edge for edge in edges if edge[0] in imported and edge[1] in importers}
        if left == edges:
            break
        edges = left
    assert edges == set()


def test_no_file_and_no_function_is_too_long_to_be_read() -> None:
    long = []
    for module, path in modules().items():
        text = path.read_text(encoding="utf-8")
        if (lines := len(text.splitlines())) > LINES_OF_A_FILE:
            long.append(f"{module}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                long += [f"{module}.{node.name}: {lines} lines"] * (lines > LINES_OF_A_FUNCTION)
    assert long == []


@pytest.mark.parametrize(
    "module",
    [
        "finetuned.edge.daemon",
        "finetuned.edge.embedded",
        *(f"finetuned_plugins.{path.stem}" for path in sorted(PLUGINS.glob("[a-z]*.py"))),
    ],
)
def test_importing_what_the_daemon_imports_loads_no_library_of_the_engine_or_the_commands(
    module: str,
) -> None:
    script = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert module in loaded
    assert loaded & (NOT_IN_THE_DAEMON | {"dbus_fast", "pynvml"}) == set()


def test_every_public_name_is_there_where_the_public_face_says() -> None:
    assert [name for name in finetuned.__all__ if getattr(finetuned, name, None) is None] == []
