"""What a person reads of the daemon's answers, and the durations that a person writes."""

from __future__ import annotations

from typing import Any

import pytest

from finetuned.edge import requests_cli
from finetuned.edge.wording import amount, harmless, lasting, seconds
from finetuned.errors import HostError, ParameterError

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


def answering(monkeypatch: pytest.MonkeyPatch, **state: object) -> None:
    """Let the daemon answer to `status` with this."""
    answer = {"node": "pi-3fa2", "state": STATE | state, "models": [], "tasks": []}
    monkeypatch.setattr(requests_cli, "_ask", lambda *_: answer)


def test_status_says_the_mode_and_what_is_behind_the_pace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch)
    requests_cli.status(None, json=False)
    told = capsys.readouterr().err
    assert "pi-3fa2  finetuned 0.2.0, mode auto, pace paused" in told
    assert "because of battery 25 % (trip 30 %), thermal 83.1 °C (trip 80 °C)" in told
    assert "thermal 83.1 °C  battery 25 %; waiting: 0 samples, 1 tasks" in told
    assert "warning: thermal sensor [bold]x: �hangs" in told


def test_a_state_of_another_version_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, readings="hot")
    with pytest.raises(HostError, match="are both of one version"):
        requests_cli.status(None, json=False)


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
    requests_cli.mode(None, None, None, json=False)
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
