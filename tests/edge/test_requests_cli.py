"""What a person reads of the daemon's answers, and the durations that a person writes."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from finetuned.edge import requests_cli
from finetuned.edge.cli import app
from finetuned.edge.requests_cli import To, doomed
from finetuned.edge.wording import amount, harmless, hint, lasting, seconds
from finetuned.errors import HostError, ParameterError, RequestError
from finetuned.service.events import ModelState

TO = To()
STATE: dict[str, Any] = {
    "version": "0.2.0",
    "mode": "auto",
    "pace": "paused",
    "duty": 0.0,
    "device": "cpu",
    "reasons": ["thermal", "battery"],
    "running": [],
    "queued": 1,
    "waitingSamples": 0,
    "readings": {"thermal": 83.14, "battery": 25.0},
    "warnings": ["thermal sensor [bold]x: \x1bhangs"],
    "causes": [
        {"reason": "battery", "zone": "battery", "reading": 25.0, "trip": 30.0},
        {"reason": "thermal", "zone": "thermal", "reading": 83.14, "trip": 80.0},
    ],
}
MODEL: dict[str, Any] = {
    "model": "gestures",
    "user": "anna",
    "kind": "neuralNetworkClassifier",
    "current": 7,
    "candidate": 8,
    "samples": {"rock": 10, "paper": 20},
    "metrics": {"samples": 6, "lossValue": 0.3, "accuracy": 0.8},
    "candidateMetrics": None,
    "task": None,
    "taskState": "idle",
    "reasons": [],
    "progress": 0.0,
    "lossValue": None,
    "etaSeconds": None,
}
OF_ANNA = {"model": "gestures", "user": "anna"}
TASK_ANSWER = {**OF_ANNA, "task": "01JD", "state": "suspended", "reasons": ["queued"]}
GONE = {**OF_ANNA, "samples": 30, "versions": 1}


def answering(monkeypatch: pytest.MonkeyPatch, *models: dict[str, Any], **state: object) -> None:
    """Let the daemon answer to `status` with this."""
    answer = {"node": "pi-3fa2", "state": STATE | state, "models": models, "tasks": []}
    monkeypatch.setattr(requests_cli, "_ask", lambda *_: answer)


def hearing(monkeypatch: pytest.MonkeyPatch, **answers: object) -> list[tuple[str, dict[str, Any], str]]:
    """Let the daemon give these answers, by verb; return what it is asked: verb, body, node."""
    heard: list[tuple[str, dict[str, Any], str]] = []

    def ask(verb: str, body: dict[str, Any], to: To) -> object:
        heard.append((verb, body, to.node))
        return answers[verb]

    monkeypatch.setattr(requests_cli, "_ask", ask)
    return heard


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    """Let somebody sit there who types this."""
    stdin = io.StringIO(typed)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stdin)


def test_status_says_the_mode_and_what_is_behind_the_pace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch)
    requests_cli.status(TO, json=False)
    told = capsys.readouterr().err
    assert "pi-3fa2  finetuned 0.2.0, mode auto, pace paused" in told
    assert "because of battery 25 % (trip 30 %), thermal 83.1 °C (trip 80 °C)" in told
    assert "thermal 83.1 °C  battery 25 %; waiting: 0 samples, 1 task" in told
    assert "warning: thermal sensor [bold]x: �hangs" in told


def test_a_state_of_another_version_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, readings="hot")
    with pytest.raises(HostError, match="are both of one version"):
        requests_cli.status(TO, json=False)


def test_status_shows_a_kept_version_with_the_command_that_puts_it_to_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, MODEL, MODEL | {"model": "[red]x;y", "user": "", "candidate": 2, "metrics": None})
    requests_cli.status(TO, json=False)
    *table, first, second = capsys.readouterr().err.splitlines()
    assert table[-2].split() == ["gestures", "anna", "7", "30", "accuracy", "80.0%"]
    assert first == f"gestures of anna: version 8 is kept and not in use; {PROMOTE}"
    assert second == "[red]x;y: version 2 is kept and not in use; finetuned promote '[red]x;y' 2"


PROMOTE = "finetuned promote gestures 8 --user anna"


def test_status_shows_how_good_a_regressor_is_and_of_a_task_its_user_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"samples": 6, "lossValue": 0.3, "meanAbsoluteError": 0.25}
    answer = {"node": "n", "state": STATE, "models": [MODEL | {"metrics": good, "candidate": None}]}
    monkeypatch.setattr(requests_cli, "_ask", lambda *_: answer | {"tasks": [TASK]})
    requests_cli.status(TO, json=False)
    told = capsys.readouterr().err
    assert "mean absolute error 0.25" in told
    assert told.splitlines()[-1].replace(" ", "") == "01JDgesturesannarunning36%0.211min15s"


TASK: dict[str, Any] = {
    "task": "01JD",
    "model": "gestures",
    "user": "anna",
    "state": "running",
    "reasons": [],
    "epoch": 11,
    "epochs": 30,
    "batch": 2,
    "batches": 4,
    "progress": 0.36,
    "etaSeconds": 75.0,
    "lossValue": 0.21,
    "device": "cpu",
    "pace": "full",
}


def test_a_tasks_id_stands_whole_in_a_table_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = TASK | {
        "task": "01JD8QZ5V6W7X8Y9ZABCDEFGHJ",
        "reasons": ["schedule", "cpuBusy"],
        "lossValue": 0.1234,
    }
    answer = {"node": "n", "state": STATE, "models": [], "tasks": [task]}
    monkeypatch.setattr(requests_cli, "_ask", lambda *_: answer)
    monkeypatch.setenv("COLUMNS", "80")
    requests_cli.status(TO, json=False)
    assert f"\n{task['task']} " in capsys.readouterr().err


def test_json_holds_nothing_that_a_terminal_would_obey_and_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = {"node": "\x1b[2J\x9b2J\u202e\x7f\u2028 é ✌️"}
    hearing(monkeypatch, status=said)
    told = CliRunner().invoke(app, ["status", "--json"]).stdout
    assert json.loads(told) == said
    assert set(told) & set("\x1b\x9b\u202e\x7f\u2028") == set()
    assert "é ✌️" in told


@pytest.mark.parametrize("user", ["", "-anna"])
def test_the_hint_of_a_model_that_begins_with_a_dash_can_be_pasted(
    monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    heard = hearing(monkeypatch, promote={})
    CliRunner().invoke(app, shlex.split(hint("-dash it", user, 8))[1:])
    assert heard == [("promote", {"model": "-dash it", "user": user, "version": 8}, "")]


# ── requests ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("words", "body", "answer", "said"),
    [
        ("train gestures --user anna", {**OF_ANNA, "parameters": {}}, TASK_ANSWER, "gestures of anna: task 01JD is suspended (queued)"),
        ("pause", {"task": "all"}, {"tasks": []}, "no task is alive"),
        ("resume 01JD -p learningRate=0.1", {"task": "01JD", "parameters": {"learningRate": 0.1}}, {"tasks": [TASK_ANSWER]}, "gestures of anna: task 01JD is suspended (queued)"),
        ("cancel 01JD", {"task": "01JD"}, TASK_ANSWER | {"state": "failed", "reasons": []}, "gestures of anna: task 01JD is failed"),
        (PROMOTE.removeprefix("finetuned "), {**OF_ANNA, "version": 8}, {**OF_ANNA, "version": 8, "fromVersion": 7}, "gestures of anna: version 8 is in use now, version 7 no more"),
        ("promote gestures 8", {"model": "gestures", "user": "", "version": 8}, {"model": "gestures", "user": "", "version": 8, "fromVersion": 8}, "gestures: version 8 was in use already"),
        ("rollback gestures", {"model": "gestures", "user": ""}, {"model": "gestures", "user": "", "version": 0, "fromVersion": 1}, "gestures: the base is in use now, version 1 no more"),
        ("rescan", {}, {"waitingSamples": 1}, "looking through the inbox; waiting: 1 sample"),
        ("forget gestures --user anna --yes", OF_ANNA, GONE, "gestures of anna: 30 samples and 1 version are gone"),
        ("forget gestures --label rock --yes", {"model": "gestures", "label": "rock"}, GONE | {"user": "\x1b[2J"}, "gestures of �[2J: 30 samples and 1 version are gone"),
        ("mode never --for 2h", {"mode": "never", "forSeconds": 7200.0}, {"mode": "never", "forSeconds": 7200.0}, "mode never (2 h, then auto): nothing is trained"),
    ],
)  # fmt: skip
def test_a_command_becomes_a_request_and_its_answer_a_sentence_or_json(
    monkeypatch: pytest.MonkeyPatch, words: str, body: dict[str, Any], answer: dict[str, Any], said: str
) -> None:
    verb = words.split(maxsplit=1)[0]
    heard = hearing(monkeypatch, **{verb: answer})
    told = CliRunner().invoke(app, [*words.split(), "--node", "pi-3fa2"])
    assert (told.exit_code, told.stdout, told.stderr) == (0, "", f"{said}\n")
    shown = CliRunner().invoke(app, [*words.split(), "--json"])
    assert (shown.exit_code, json.loads(shown.stdout), shown.stderr) == (0, answer, "")
    assert heard == [(verb, body, "pi-3fa2"), (verb, body, "")]


@pytest.mark.parametrize(
    "words", ["promote gestures 8", "rollback gestures", "rescan", "forget gestures --yes", "train gestures", "status"]
)  # fmt: skip
def test_an_answer_that_is_none_of_ours_is_said_to_be_one(
    monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    hearing(monkeypatch, **{words.split(maxsplit=1)[0]: {"it": "is done"}})
    told = CliRunner().invoke(app, words.split())
    assert told.exit_code == 1
    assert "are both of one version?" in told.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("promote gestures latest", "should be a valid integer"),
        ("promote gestures -- -1", "greater than or equal to 0"),
        ("promote gestures", "Missing argument"),
        ("forget gestures", "there is no terminal to ask at: add --yes"),
        ("forget gestures --label rock --sample 00ff --yes", "do not go together"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage_and_asks_nobody(
    monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    heard = hearing(monkeypatch)
    told = CliRunner().invoke(app, words.split())
    assert (told.exit_code, heard) == (2, [])
    assert said in told.stderr


# ── forgetting ──────────────────────────────────────────────────────────────────────────────────
NAMED = [
    ({}, "gestures, with 35 samples of anna and bo and every version"),
    ({"user": "bo"}, "gestures of bo, with 5 samples and every version"),
    ({"user": "anna", "label": "rock"}, "10 samples of the label rock of gestures of anna"),
    ({"sample": "00ff"}, "the sample 00ff of gestures"),
]


@pytest.mark.parametrize(("more", "named"), NAMED)
@pytest.mark.parametrize("typed", ["y\n", "YES\n", "n\n", "\n", ""])
def test_at_a_terminal_forgetting_names_what_will_be_gone_and_waits_for_a_yes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: dict[str, str],
    named: str,
    typed: str,
) -> None:
    models = [MODEL, MODEL | {"user": "bo", "samples": {"paper": 5}}, MODEL | {"model": "digits"}]
    state = {"node": "pi-3fa2", "state": STATE, "models": models, "tasks": []}
    heard = hearing(monkeypatch, status=state, forget=GONE)
    at_a_terminal(monkeypatch, typed)
    done = requests_cli.forget({"model": "gestures", **more}, TO, sure=False, json=False)
    told = capsys.readouterr().err
    assert told.startswith(f"pi-3fa2: {named} will be gone, for ever. Forget? [y/N] ")
    assert done is (typed in {"y\n", "YES\n"})
    assert [verb for verb, *_ in heard] == ["status", "forget"][: 2 if done else 1]
    assert ("nothing was forgotten" in told) is not done


def model_state(user: str, **samples: int) -> ModelState:
    return msgspec.convert(MODEL | {"user": user, "samples": samples}, ModelState)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("neuralNetworkClassifier", ""),
        ("kNearestNeighborsClassifier", " and every version, which hold it"),
        ("pipelineClassifier", " and, if it ends in nearest neighbours, every version"),
    ],
)
@pytest.mark.parametrize("what", ["label", "sample"])
def test_whoever_forgets_a_sample_that_versions_hold_is_told_so(what: str, kind: str, more: str) -> None:
    told = (msgspec.structs.replace(model_state(""), kind=kind),)
    assert doomed({"model": "gestures", what: "x"}, told).endswith(f" x of gestures{more}")


MADE_UP = (model_state(""), model_state("user-3f", **{"label-1a": 20, "label-2b": 10}))
SILENT = (model_state("", **{"": 4}),)


@pytest.mark.parametrize(
    ("more", "told", "named"),
    [
        ({"user": "anna"}, MADE_UP, "gestures of anna, with all samples and every version"),
        ({"user": "user-3f"}, MADE_UP, "gestures of user-3f, with 30 samples and every version"),
        ({"label": "rock"}, MADE_UP, "all samples of the label rock of gestures"),
        ({"label": "label-1a"}, MADE_UP, "20 samples of the label label-1a of gestures"),
        ({"user": "anna", "label": "rock"}, SILENT, "all samples of the label rock of gestures of anna"),
        ({"user": "anna"}, SILENT, "gestures of anna, with all samples and every version"),
        ({}, SILENT, "gestures, with all samples and every version"),
        ({}, (model_state(""),), "gestures, with all samples and every version"),
    ],
)
def test_no_number_is_said_of_what_will_be_gone_where_the_daemon_does_not_tell_of_it(
    more: dict[str, str], told: tuple[ModelState, ...], named: str
) -> None:
    assert doomed({"model": "gestures", **more}, told) == named


def test_of_a_model_that_there_is_not_nobody_is_asked_whether_to_forget_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, MODEL, MODEL | {"model": "\x1b[2J"})
    at_a_terminal(monkeypatch, "y\n")
    with pytest.raises(
        RequestError, match=r"^there is no model named gesture; registered are: �\[2J, gestures$"
    ):
        requests_cli.forget({"model": "gesture"}, TO, sure=False, json=False)
    assert capsys.readouterr().err == ""


# ── the mode ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            {"mode": "never", "modeLeftSeconds": 7140.0},
            "mode never (1 h 59 min, then auto): nothing is trained",
        ),
        ({"mode": "auto"}, "mode auto: the budget decides"),
    ],
)
def test_without_a_word_mode_says_which_holds_what_it_means_and_until_when(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: dict[str, Any], said: str
) -> None:
    answering(monkeypatch, **state)
    requests_cli.mode(None, None, TO, json=False)
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400), ("1.5h", 5400), (" 2h ", 7200)],
)
def test_a_duration_is_a_number_and_perhaps_a_unit(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "text", ["", "h", "-1", "0", "0h", "nan", "inf", "1e3", "2 h", "²", "1w", "9" * 300, "2h\x00"]
)
def test_what_is_no_duration_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ParameterError, match="30m, 2h or 1d"):
        seconds(text)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (7140, "1 h 59 min"),
        (90_061, "1 d 1 h"),
        (1e300, "11574074 d 1 h"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(value: float, said: str) -> None:
    assert lasting(value) == said


@pytest.mark.parametrize(
    ("zone", "value", "said"),
    [
        ("thermal/nvme0", 83.14, "83.1 °C"),
        ("disk", 74258.3, "74258 MB"),
        ("memory", 0.034, "0.034 %"),
        ("power", 1.0, "limited"),
        ("schedule", 0.0, "outside its windows"),
        ("of a newer daemon", 1e300, "1e+300"),
    ],
)
def test_a_reading_is_said_with_its_unit_or_in_words(zone: str, value: float, said: str) -> None:
    assert amount(zone, value) == said


def test_a_strangers_text_stays_on_one_line_and_is_cut() -> None:
    assert harmless("a\nb\x9b\u2028✌️") == "a�b��✌️"
    assert len(harmless("x" * 10**6)) == 100


def test_the_page_of_the_commands_names_every_one_of_them() -> None:
    page = (Path(__file__).parents[2] / "docs/commands.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1] for row in page.splitlines() if row.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)", row)]
    assert sorted(named) == sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a group's


def test_no_rooms_log_line_stands_among_what_a_command_says() -> None:
    code = (
        "import logging; from finetuned.edge import console; from finetuned.edge.logs import get_logger\n"
        "log = get_logger('mqtt'); console.without_logs()\n"
        "log.warning('more comes in'); log.error('and more'); logging.getLogger('mqtt').error('full')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
