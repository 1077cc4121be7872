from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from finetuned.edge import logs
from finetuned.edge.config import Log

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers, root.level = handlers, level
    logging.getLogger("finetuned").setLevel(logging.NOTSET)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail() -> None:
    try:
        int("x")
    except ValueError:
        logs.get_logger("mqtt").exception("failed")


def test_a_line_is_one_json_object_and_names_its_room() -> None:
    stream = io.StringIO()
    logs.setup(Log(), stream, {})
    logs.get_logger("mqtt").warning("trouble", port=1883)
    (line,) = lines(stream)
    assert line.pop("ts").endswith("Z")
    assert line == {"event": "trouble", "level": "warning", "room": "mqtt", "port": 1883}


def test_the_libraries_are_heard_from_warning_up_through_the_same_door() -> None:
    stream = io.StringIO()
    logs.setup(Log(level="debug"), stream, {})
    logging.getLogger("paho").info("chatter")
    logging.getLogger("asyncio").error("slow %s", "callback")
    logging.getLogger("finetuned.service.governor").info("a sensor is missing")
    assert [(line["room"], line["event"]) for line in lines(stream)] == [
        ("asyncio", "slow callback"),
        ("finetuned.service.governor", "a sensor is missing"),
    ]


def test_what_lies_below_the_level_is_not_said() -> None:
    stream = io.StringIO()
    logs.setup(Log(level="error"), stream, {})
    logs.get_logger("mqtt").warning("trouble")
    logging.getLogger("finetuned").warning("trouble")
    assert stream.getvalue() == ""


def test_an_exception_stays_within_its_json_line() -> None:
    stream = io.StringIO()
    logs.setup(Log(), stream, {})
    fail()
    assert "ValueError: invalid literal" in lines(stream)[0]["exception"]


def test_secrets_are_hidden_and_files_are_named_without_their_folders() -> None:
    stream = io.StringIO()
    logs.setup(Log(), stream, {})
    logs.get_logger("mqtt").info("x", password="hunter2", sample=Path("/home/anna/rock.png"))  # noqa: S106
    (line,) = lines(stream)
    assert (line["password"], line["sample"]) == ("hidden", "rock.png")


def test_journald_gets_a_priority_before_every_line(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as stream:
        found = os.fstat(stream.fileno())
        logs.setup(Log(format="console"), stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        fail()
    written = (tmp_path / "journal").read_text().splitlines()
    assert len(written) > 1
    assert {line[:3] for line in written} == {"<3>"}


def test_a_stream_that_is_not_the_journal_gets_no_priority(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as stream:
        logs.setup(Log(), stream, {"JOURNAL_STREAM": "1:2"})
        logs.get_logger("mqtt").error("failed")
    assert (tmp_path / "file").read_text().startswith("{")


def test_the_log_works_without_rich_and_leaves_rich_to_those_who_draw() -> None:
    code = """
import sys
from finetuned.edge import logs
from finetuned.edge.config import Log
logs.setup(Log(format="console"))
logs.get_logger("x").warning("said")
assert not [name for name in sys.modules if name.split(".")[0] == "rich"]
import rich.console
"""
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
