"""What `finetuned watch` makes of what it hears: the scene, its picture, and lines for files; no broker but where it is lost."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from bridges import DEADLINE_S, bridged, epoch
from brokers import client, running
from finetuned.edge import watch
from finetuned.edge.watch import Patience, follow
from finetuned.edge.watch_events import line_of
from finetuned.edge.watch_rows import sparkline
from finetuned.edge.watch_scene import DRAWN, EVENTS, KEPT, Heard, Lost, Met, News, Scene, after
from finetuned.edge.watch_view import picture
from finetuned.errors import ConfigurationError, HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from finetuned.edge.broker import Address

NOON = 1_800_000_000.0
TS = "2026-11-23T04:50:12.418Z"
STATE = {
    "version": "0.2.0",
    "mode": "auto",
    "pace": "slow",
    "duty": 0.25,
    "device": "cpu",
    "reasons": ["thermal"],
    "running": ["t1"],
    "queued": 2,
    "waitingSamples": 3,
    "readings": {"thermal": 83.14, "battery": 88.0},
    "warnings": [],
    "causes": [{"reason": "thermal", "zone": "thermal", "reading": 83.14, "trip": 80.0}],
}
TASK = {
    "task": "t1",
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
    "lossValue": 0.2137,
    "device": "cpu",
    "pace": "full",
}
WAITING = TASK | {"state": "suspended", "progress": 0.0, "reasons": ["queued"]}
MODEL = {
    "model": "gestures",
    "user": "anna",
    "kind": "neuralNetworkClassifier",
    "current": 7,
    "candidate": None,
    "samples": {"rock": 10, "paper": 20},
    "metrics": {"samples": 6, "lossValue": 0.3, "accuracy": 0.8},
    "candidateMetrics": None,
    "task": None,
    "taskState": "running",
    "reasons": [],
    "progress": 0.36,
    "lossValue": 0.2137,
    "etaSeconds": 75,
}
FAILED = {"type": "failed", "id": 5, "ts": TS, "node": "n", "model": "gestures", "fault": "training"}
FAILED |= {"task": "t1", "error": "it diverged"}


def accepted(number: int, **more: object) -> dict[str, Any]:
    event = {"type": "sampleAccepted", "id": number, "ts": TS, "node": "n", "model": "gestures"}
    return event | {"label": "rock", "name": f"{number}.png"} | more


def heard(topic: str, payload: object) -> Heard:
    return Heard(topic=topic, payload=payload)  # type: ignore[arg-type]  # a stranger may send anything


def a_scene(*news: News, at: float = NOON) -> Scene:
    """Return a scene of a daemon that is there and does something, and then this."""
    scene = Scene()
    known = (
        Met(node="pi-3fa2"),
        heard("availability", {"availability": "online"}),
        heard("state", STATE),
        heard("task/t1/state", TASK),
        heard("model/gestures/anna/state", MODEL),
    )
    for each in (*known, *news):
        scene = after(scene, each, at)
    return scene


def shown(scene: Scene, *, width: int = 80, height: int = 24, now: float = NOON) -> str:
    return "\n".join(line.plain for line in picture(scene, now, width=width, height=height))


# ── what is shown ───────────────────────────────────────────────────────────────────────────────
def test_a_look_shows_the_pace_and_why_the_zones_the_tasks_the_models_and_what_happened() -> None:
    page = shown(a_scene(heard("event/failed", FAILED)))
    assert "pi-3fa2  pace slow (25% of the time)  mode auto  cpu  finetuned 0.2.0" in page
    assert "because of thermal 83.1 °C (trip 80 °C)" in page
    assert "thermal 83.1 °C  battery 88 %\nwaiting: 3 samples, 2 tasks\n" in page
    assert "gestures anna" in page
    assert "━━━━╌╌╌╌╌╌  36%  epoch 11/30  1 min 15 s  loss 0.2137 ▁" in page
    assert "version 7, 30 samples, accuracy 80.0%" in page
    assert "gestures: failed (training): it diverged" in page
    assert "not connected" not in page


def test_a_task_that_does_not_run_says_why() -> None:
    waiting = TASK | {"state": "suspended", "reasons": ["queued", "thermal"], "pace": "paused"}
    assert "suspended, pace paused on cpu: queued, thermal" in shown(a_scene(heard("task/t1/state", waiting)))


def test_a_mode_says_until_when_it_holds() -> None:
    scene = a_scene(heard("state", STATE | {"mode": "never", "modeLeftSeconds": 7140.0}))
    assert "mode never (1 h 59 min, then auto)" in shown(scene)


def test_a_task_that_has_ended_goes() -> None:
    scene = a_scene(heard("task/t1/state", {}))
    assert "epoch 11" not in shown(scene)
    assert scene.losses == {}


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (20, 5), (1, 1), (200, 60)])
def test_the_picture_fits_the_terminal_whatever_its_size(width: int, height: int) -> None:
    tasks = (heard(f"task/t{n}/state", TASK | {"task": f"t{n}"}) for n in range(20))
    models = (heard(f"model/m{n}/state", MODEL | {"model": f"手{n}"}) for n in range(50))
    events = (heard("event/sampleAccepted", accepted(n, name="✌️" * 90)) for n in range(50))
    warnings = heard("state", STATE | {"warnings": ["x" * 500] * 9})
    lines = picture(a_scene(*tasks, *models, *events, warnings), NOON, width=width, height=height)
    assert len(lines) <= height
    assert max(line.cell_len for line in lines) <= width


def test_many_tasks_leave_room_for_the_latest_events_and_say_how_many_are_not_shown() -> None:
    tasks = (heard(f"task/t{n}/state", TASK | {"task": f"t{n}"}) for n in range(20))
    page = shown(a_scene(*tasks, *(heard("event/sampleAccepted", accepted(n)) for n in range(9))))
    assert "  … 11 more\n" in page
    assert "8.png" in page.splitlines()[-1]


def test_epochs_take_one_line_and_a_mini_batch_none() -> None:
    epochs = (
        {"type": "epochEnd", "ts": TS, "node": "n", "task": "t1", "attempt": 1, "step": n} for n in (4, 8)
    )
    full = [each | {"metrics": {"epochIndex": each["step"], "lossValue": 0.5}} for each in epochs]
    batch = full[0] | {"type": "miniBatchEnd"}
    told = [heard("event/epochEnd", each | {"lastMiniBatchLoss": 0.4}) for each in full]
    scene = a_scene(*told, heard("event/miniBatchEnd", batch))
    assert [line.text for line in scene.events] == ["epoch 9 done, loss 0.5"]


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ((), 8, ""),
        ((1.0,), 8, "▁"),
        ((3.0, 3.0), 8, "▁▁"),
        ((1000.0, 100.0, 10.0, 1.0), 8, "█▆▃▁"),
        (tuple(range(8)), 8, "▁▂▃▄▅▆▇█"),
        ((0, 0, 4, 4, 8, 8), 3, "▁▅█"),
        ((1e308, -1e308), 8, "█▁"),
        ((1.0, 2.0), 0, ""),
    ],
)
def test_a_sparkline_goes_from_the_least_to_the_most_and_takes_the_mean_of_what_is_too_much(
    values: tuple[float, ...], width: int, line: str
) -> None:
    assert sparkline(values, width) == line


def test_the_losses_that_were_seen_are_drawn_behind_the_last_one() -> None:
    losses = (heard("task/t1/state", TASK | {"lossValue": float(value)}) for value in range(8))
    assert "loss 7 " in (page := shown(a_scene(*losses)))
    assert "▁▂▃▄▅▆▇█" in page


def test_a_version_that_was_kept_is_shown_first_with_the_command_that_puts_it_to_use() -> None:
    measured = {"samples": 6, "lossValue": 0.3, "accuracy": 0.75}
    kept = MODEL | {"model": "a; b", "candidate": 9, "candidateMetrics": measured}
    rows = shown(a_scene(heard("model/x/state", kept))).partition("models\n")[2].splitlines()
    assert rows[0].startswith("a; b anna        version 7, 30 samples")
    assert rows[1] == "  version 9 kept, accuracy 75.0%: finetuned promote 'a; b' 9 --user anna"
    assert rows[2].startswith("gestures anna")


@pytest.mark.parametrize(
    ("event", "said", "mood"),
    [
        ({"type": "promoted", "version": 8, "parent": 7}, "version 8 is in use", "good"),
        ({"type": "rolledBack", "version": 0, "fromVersion": 8}, "the base is in use again, version 8 no more", "wary"),
        ({"type": "forgotten", "samples": 1, "versions": 7}, "forgotten: 1 sample, 7 versions", "wary"),
        ({"type": "forgotten", "samples": 3, "versions": 1, "label": "rock"}, "forgotten: 3 samples of rock, 1 version", "wary"),
        ({"type": "forgotten", "samples": 1, "versions": 0, "sample": "00ff" * 16}, "forgotten: 1 sample (00ff00ff00f…), 0 versions", "wary"),
    ],
)  # fmt: skip
def test_what_is_in_use_and_what_is_gone_has_its_line(event: dict[str, Any], said: str, mood: str) -> None:
    line = line_of({"ts": TS, "node": "n", "model": "gestures", "user": "anna", **event}, NOON)
    assert line is not None
    assert (line.text, line.mood) == (f"gestures anna: {said}", mood)


def test_tasks_that_run_come_first_and_in_a_narrow_terminal_have_a_second_line() -> None:
    waiting = (heard(f"task/w{n}/state", WAITING) for n in range(500))
    running = heard("task/z/state", TASK | {"model": "a very long name of a model"})
    scene = a_scene(heard("task/t1/state", {}), *waiting, running)
    rows = shown(scene, width=40).partition("\ntasks\n")[2].splitlines()
    assert rows[0] == "a very long n… ━━╌╌╌╌  36%  1 min 15 s"
    assert rows[1].startswith("  epoch 11/30  loss 0.2137 ▁")
    assert rows[2] == "gestures anna  suspended on cpu: queued"
    assert any(row.startswith("  … 49") and row.endswith(" more") for row in rows)
    assert "models" in rows


def test_an_event_takes_as_many_lines_as_it_needs_and_the_latest_are_whole() -> None:
    promoted = {
        "type": "completed",
        "ts": TS,
        "node": "n",
        "model": "gestures",
        "version": 8,
        "parent": 7,
        "samples": 30,
    }
    metrics = {"samples": 6, "lossValue": 0.3, "accuracy": 0.8}
    promoted |= {"before": metrics, "after": metrics, "promotion": "kept", "durationSeconds": 4.2}
    scene = a_scene(heard("event/completed", promoted | {"promotionReason": "worse on 20 held-out samples"}))
    lines = picture(scene, NOON, width=80, height=24)[-2:]
    assert lines[0].plain[9:] == "gestures: version 8 is kept: accuracy 80.0% → accuracy 80.0%, worse on"
    assert lines[1].plain == "         20 held-out samples (4.2 s)"
    styles = [[span.style for span in line.spans if span.style] for line in lines]
    assert styles[0][:1] == ["dim"]
    assert "dim" not in [*styles[0][1:], *styles[1]]
    assert len(picture(scene, NOON, width=40, height=12)) <= 12


# ── coming and going ────────────────────────────────────────────────────────────────────────────
def test_a_lost_connection_is_said_with_its_reason_and_since_when_and_what_is_shown_is_marked() -> None:
    scene = a_scene()
    for at in (NOON + 10, NOON + 20):
        scene = after(scene, Lost(why="the broker is gone"), at)
    lines = picture(scene, NOON + 100, width=80, height=24)
    assert lines[0].plain.startswith("not connected since ")
    assert "(1 min 30 s); below is how it was" in lines[0].plain
    assert "the broker is gone" in lines[1].plain
    assert all("dim" in str(line.spans) for line in lines[2:5])
    assert "dim" not in str(picture(a_scene(), NOON, width=80, height=24)[2].spans)


def test_a_daemon_that_is_gone_is_said_though_the_broker_is_there() -> None:
    scene = a_scene(heard("availability", {"availability": "offline"}))
    assert "the daemon is offline since" in shown(scene)
    page = shown(after(scene, heard("availability", {"availability": "online"}), NOON))
    assert "offline since" not in page
    assert [line[9:] for line in page.splitlines()[-2:]] == [
        "the daemon is offline",
        "the daemon is online again",
    ]


def test_after_a_new_connection_only_what_is_retained_then_is_shown() -> None:
    scene = a_scene(heard("event/failed", FAILED), Lost(why="x"), Met(node="pi-3fa2"))
    page = shown(scene)
    assert "has not said how it is yet" in page
    assert "epoch 11" not in page
    assert [line[9:] for line in page.splitlines()[-3:]] == [
        "gestures: failed (training): it diverged",
        "the connection was lost",
        "connected again",
    ]


def test_before_anything_is_heard_the_picture_says_that_it_looks() -> None:
    assert "not connected" in shown(Scene())


# ── what strangers send ─────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("state", {}),
        ("state", {"version": 1}),
        ("state", STATE | {"readings": {"thermal": "hot"}}),
        ("state", STATE | {"duty": None}),
        ("task/t1/state", {"task": "t1"}),
        ("task/t1/state", TASK | {"progress": "all"}),
        ("model/gestures/anna/state", MODEL | {"samples": ["rock"]}),
        ("event/failed", {"type": "failed"}),
        ("event/failed", FAILED | {"error": 7}),
        ("event/unheard", {"type": "unheard", "ts": TS, "node": "n"}),
        ("event/sampleAccepted", accepted(1, count=10**5000)),
        ("event/a/b", accepted(1)),
        ("task/state", TASK),
        ("request/train", {"model": "x"}),
        ("", {}),
    ],
)
def test_what_is_not_as_the_daemon_says_it_changes_nothing(topic: str, payload: dict[str, Any]) -> None:
    assert a_scene(heard(topic, payload)) == a_scene()


def test_what_is_said_is_text_without_markup_controls_or_turned_writing() -> None:
    bad = "[red]\x1b[2J\x07\u202e\u0085\n✌️"
    news: list[News] = [
        heard("state", STATE | {"version": bad, "device": bad, "warnings": [bad], "readings": {bad: 1.0}}),
        heard("task/t/state", TASK | {"model": bad, "reasons": [bad], "state": bad, "pace": bad}),
        heard("model/m/state", MODEL | {"model": bad}),
        heard("event/failed", FAILED | {"error": bad, "fault": bad, "model": bad}),
        Lost(why=bad),
    ]
    page = shown(a_scene(*news), width=200, height=50)
    assert "[red]�[2J���" in page
    assert set(page) & set("\x1b\x07\u202e\u0085") == set()
    assert "✌️" in page


def test_however_much_is_sent_a_bounded_part_is_kept() -> None:
    tasks = (heard(f"task/t{n}/state", TASK | {"model": "x" * 10**5}) for n in range(KEPT + 9))
    models = (
        heard(f"model/m{n}/state", MODEL | {"samples": {str(n): 1 for n in range(99)}})
        for n in range(KEPT + 9)
    )
    many = (heard("event/sampleAccepted", accepted(n, name="x" * 10**5)) for n in range(2 * EVENTS))
    scene = a_scene(*tasks, *models, *many, heard(f"task/{'x' * 10**5}/state", TASK))
    assert (len(scene.tasks), len(scene.models), len(scene.losses), len(scene.events)) == (
        KEPT,
        KEPT,
        DRAWN,
        EVENTS,
    )
    assert max(len(task.model) for task in scene.tasks.values()) <= 100
    assert {len(model.samples) for model in scene.models.values()} == {1}
    assert max(map(len, scene.tasks)) < 100
    assert "more at least" in shown(scene)
    assert max(len(line.text) for line in scene.events) <= 300


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("task/t1/state", TASK | {"epoch": 10**5000, "epochs": -(10**5000)}),
        ("task/t1/state", TASK | {"progress": -3.5, "etaSeconds": 1e308, "lossValue": 1e308}),
        ("state", STATE | {"queued": 10**5000, "modeLeftSeconds": 1e308, "duty": -1e308}),
        ("state", STATE | {"readings": {f"z{n}": 1e308 for n in range(1000)}}),
        ("model/m/state", MODEL | {"samples": {"rock": 10**5000}, "current": 10**5000}),
    ],
)
def test_numbers_beyond_measure_break_nothing(topic: str, payload: dict[str, Any]) -> None:
    assert max(map(len, shown(a_scene(heard(topic, payload))).splitlines())) <= 80


def test_an_outcome_that_is_sent_again_is_one_and_the_same_row_of_a_new_ledger_another() -> None:
    again = heard("event/sampleAccepted", accepted(1))
    other = heard("event/sampleAccepted", accepted(1, ts="2026-11-24T04:50:12.418Z"))
    assert len(a_scene(again, again, other).events) == 2


@pytest.mark.parametrize(
    "ts", ["", "yesterday", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00Z", "9" * 10**4]
)
def test_a_time_that_is_none_is_that_of_hearing(ts: str) -> None:
    line = line_of(accepted(1, ts=ts), NOON)
    assert line is not None
    assert len(line.at) == len("12:34:56")


# ── the source ──────────────────────────────────────────────────────────────────────────────────
QUICK = Patience(first_s=0.01, most_s=0.02)


async def until(news: AsyncIterator[News], kind: type[News], topic: str = "") -> News:
    async with asyncio.timeout(DEADLINE_S):
        async for each in news:
            if isinstance(each, kind) and (not topic or getattr(each, "topic", "") == topic):
                return each
    raise AssertionError


async def test_a_broker_that_is_restarted_is_found_again(tmp_path: Path) -> None:
    async with (
        running("mosquitto", tmp_path) as broker,
        bridged(broker.address, tmp_path) as behind,
        aclosing(follow(lambda: broker.address, "finetuned", patience=QUICK)) as news,
    ):
        assert await until(news, Met) == Met(node="n")
        await until(news, Heard, "availability")
        await broker.kill()
        assert "broke" in str(await until(news, Lost))
        assert "cannot be used" in str(await until(news, Lost))
        await broker.start()
        assert await until(news, Met) == Met(node="n")
        await until(news, Heard, "availability")
        behind.outbox.progress(epoch(3))
        found = await until(news, Heard, "event/epochEnd")
        assert isinstance(found, Heard)
        assert found.payload["step"] == 3


async def test_a_daemon_that_cannot_be_seen_is_looked_for_again_and_longer_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    def nobody() -> Address:
        raise HostError("no daemon can be seen")

    monkeypatch.setattr(asyncio, "sleep", rest)
    async with aclosing(follow(nobody, "finetuned", patience=Patience(first_s=1.0, most_s=5.0))) as news:
        for _ in range(6):
            assert await anext(news) == Lost(why="no daemon can be seen")
    assert rests == [1.0, 2.0, 4.0, 5.0, 5.0]


async def test_a_password_that_is_away_later_is_waited_for_and_one_that_was_never_there_is_wrong(
    tmp_path: Path,
) -> None:
    async with running("mosquitto", tmp_path) as broker, bridged(broker.address, tmp_path):
        found: list[Address | None] = [broker.address, None, broker.address, None]

        def find() -> Address:
            if address := found.pop(0):
                return address
            raise ConfigurationError("mqtt.password_file cannot be read")

        async with aclosing(follow(find, "finetuned", patience=QUICK)) as news:
            await until(news, Met)
            await broker.kill()
            assert "broke" in str(await until(news, Lost))
            assert "cannot be read" in str(await until(news, Lost))
            assert "cannot be used" in str(await until(news, Lost))
        async with aclosing(follow(find, "finetuned", patience=QUICK)) as news:
            with pytest.raises(ConfigurationError):
                await anext(news)


async def test_an_event_that_was_retained_is_a_replay_and_is_passed_over_and_so_is_what_is_too_large(
    tmp_path: Path,
) -> None:
    async with running("mosquitto", tmp_path) as broker, client(broker.address) as stranger:
        topic = "finetuned/n/event/sampleAccepted"
        await stranger.publish(topic, json.dumps(accepted(1)), qos=1, retain=True)
        async with aclosing(follow(lambda: broker.address, "finetuned", patience=QUICK)) as news:
            await until(news, Met)
            waiting = asyncio.create_task(until(news, Heard))
            await stranger.publish("finetuned/n/sentinel", b"{}", qos=1)
            await stranger.publish(topic, json.dumps(accepted(2, name="x" * 300_000)), qos=1)
            await stranger.publish(topic, json.dumps(accepted(3)), qos=1)
            found = await waiting
            assert isinstance(found, Heard)
            assert found.payload["id"] == 3


# ── for files and machines ──────────────────────────────────────────────────────────────────────
async def told(*news: News) -> AsyncIterator[News]:
    for each in news:
        yield each


async def test_each_event_is_a_line_and_so_is_the_daemons_coming_and_going(
    capsys: pytest.CaptureFixture[str],
) -> None:
    again = heard("event/sampleAccepted", accepted(1, name="\x1b[31m"))
    online = heard("availability", {"availability": "online"})
    lost = Lost(why="gone\x1b")
    await watch.as_lines(told(Met(node="n"), online, online, again, again, lost, lost, heard("state", STATE)))
    out, err = capsys.readouterr()
    assert [line[9:] for line in out.splitlines()] == [
        "the daemon is online",
        "gestures: accepted rock (�[31m)",
    ]
    assert [line[9:] for line in err.splitlines()] == ["watching n", "not connected: gone�"]


def nested(depth: int) -> list[object]:
    made: list[object] = []
    for _ in range(depth):
        made = [made]
    return made


async def test_json_is_every_event_as_it_came_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    events = [
        accepted(1),
        {"type": "of a newer daemon", "ts": TS},
        {"type": 7},
        {},
        {"type": "x", "nested": nested(5000)},
    ]
    await watch.as_json(told(Met(node="n"), heard("state", STATE), *(heard("event/x", e) for e in events)))
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == events[:2]
    assert "watching n" in err
