from __future__ import annotations

import contextlib
import json
import os
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuned.edge.config import Config, Section, load, parse
from finetuned.edge.folders import default_file, places
from finetuned.edge.handover import received
from finetuned.edge.passwords import password
from finetuned.edge.rules import entries_of, growth_of, rule_of
from finetuned.edge.sections import ModelEntry
from finetuned.errors import ConfigurationError
from finetuned.policy.trigger import Rule
from finetuned.service.messages import Growth

REFERENCE = Path(__file__).parents[2] / "config" / "finetuned.toml"


def keys(section: Section, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        found |= keys(value, f"{prefix}{name}.") if isinstance(value, Section) else {f"{prefix}{name}": value}
    return found


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


# ── the reference ───────────────────────────────────────────────────────────────────────────────
def test_the_reference_holds_every_key_at_its_default() -> None:
    written = flat(tomllib.loads(REFERENCE.read_text()))
    defaults = keys(Config())
    for by_example_only in ("models", "budget.thermal.places", "budget.commands"):
        del defaults[by_example_only]
    assert {key: tuple(v) if isinstance(v, list) else v for key, v in written.items()} == defaults


def test_the_example_of_a_model_in_the_reference_can_be_taken_as_it_stands() -> None:
    _, _, example = REFERENCE.read_text().partition("# [models.gestures]")
    config = parse("[models.gestures]" + example.replace("\n# ", "\n"))
    written = set(tomllib.loads(example.replace("\n# ", "\n").partition("\n[")[0]))
    assert written == {*ModelEntry.model_fields} - {"trigger"}
    assert growth_of(config)["gestures"] == Growth(most=1000)
    assert entries_of(config)["gestures"].pixel_scale == 0.00392
    assert config.models["gestures"].labels == {"rock": "✊", "paper": "✋"}
    assert config.models["gestures"].parameters == {"epochs": 30, "learningRate": 0.01}
    assert rule_of(config, "gestures") == Rule(min_per_label=5)


# ── when a task starts by itself ────────────────────────────────────────────────────────────────
def test_the_default_trigger_is_that_of_the_policy() -> None:
    assert rule_of(Config(), "any") == Rule()


def test_a_models_own_trigger_wins_key_by_key() -> None:
    config = parse("""
        trigger = {min_new_samples = 20, quiet_s = 9, min_per_label = 2}
        models.plain = {path = "/m"}
        models.eager = {path = "/m", trigger = {min_new_samples = 1, max_wait_s = 60.5, min_per_label = 0}}
    """)
    common = Rule(min_new_samples=20, quiet_s=9.0, max_wait_s=3600.0, min_per_label=2)
    assert rule_of(config, "unnamed") == rule_of(config, "plain") == common
    assert rule_of(config, "eager") == Rule(min_new_samples=1, quiet_s=9.0, max_wait_s=60.5, min_per_label=0)


# ── what is wrong ───────────────────────────────────────────────────────────────────────────────
def test_everything_wrong_is_said_at_once_each_with_its_path() -> None:
    assert mistakes("""
        [budget.thermal]
        pause = 999
        [ingest]
        users = 1
        max_file_mb = 1.5
        [log]
        level = "loud"
        [models.hands]
        fit = "crop"
    """) == [
        "ingest.users: 1 is not true or false",
        "ingest.max_file_mb: 1.5 is not a whole number",
        "budget.thermal.pause: 999 is too high (allowed: up to 120)",
        "log.level: 'loud' is not known (allowed: 'debug', 'info', 'warning' or 'error')",
        "models.hands.path: is missing",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("mqtt = {prot = 1}", "mqtt.prot: unknown; did you mean mqtt.port?"),
        ("thermal = {pause = 70}", "thermal: unknown; did you mean budget.thermal?"),
        (
            'models = {m = {path = "/m", weights = 1}}',
            "models.m.weights: unknown (allowed: path, fit, beyond_coreml, max_samples, when_full, duplicates, pixel_scale, priority, labels, parameters, trigger)",
        ),
        ("budget.thermal.resume = 71", "budget.thermal.resume: 71 must be below throttle (70)"),
        ("budget.thermal.throttle = 80", "budget.thermal.throttle: 80 must be below pause (80)"),
        ("budget.battery.pause = 40", "budget.battery.pause: 40 must be below resume (40)"),
        ("budget.battery.on_battery = 'slow'", "budget.battery.on_battery: 'slow' is not known (allowed: 'ignore', 'throttle' or 'pause')"),
        ("budget.memory.available_pause = 10", "budget.memory.available_pause: 10 must be below available_throttle (10)"),
        ("budget.memory.resume = 0", "budget.memory.resume: 0 is too low (allowed: above 0)"),
        ("budget.memory.available_resume = 100", "budget.memory.available_resume: 100 is too high (allowed: below 100)"),
        ("budget.schedule.windows = ['night']", "budget.schedule.windows.0: 'night' is no window; write it as 22:00-06:00, mon-fri 22:00-06:00 or sat,sun 09:00-18:00"),
        ("budget.thermal.places.nvme = {throttle = 60, pause = 50, resume = 40}", "budget.thermal.places.nvme.throttle: 60 must be below pause (50)"),
        ("budget.thermal.places.nvme = {thottle = 60, throttle = 60, pause = 70, resume = 40}", "budget.thermal.places.nvme.thottle: unknown; did you mean budget.thermal.places.nvme.throttle?"),
        ("budget.commands.sun = {run = ['w'], resume = 5}", "budget.commands.sun.resume: needs throttle or pause, or both, to resume from"),
        ("budget.commands.sun = {run = ['w'], resume = 5, throttle = 3, pause = 4}", "budget.commands.sun.resume: resume, throttle and pause must rise or fall in this order"),
        ("budget.commands.'a b' = {run = ['w'], resume = 5, pause = 4}", "budget.commands.a b: 'a b' is no name of a command (1 to 32 of a-z A-Z 0-9 _ -)"),
        ("worker.devices = ['CUDA']", "worker.devices.0: 'CUDA' is no device, such as cpu, cuda or openvino"),
        ("trigger.max_wait_s = 1", "trigger.quiet_s: 5 must be below max_wait_s (1)"),
        ("trigger.min_per_label = -1", "trigger.min_per_label: -1 is too low (allowed: from 0)"),
        ("models.m = {path = '/m', trigger.max_wait_s = 1}", "models.m.trigger.quiet_s: 5 must be below max_wait_s (1)"),
        ("trigger.max_wait_s = 60\nmodels.m = {path = '/m', trigger.quiet_s = 90}", "models.m.trigger.quiet_s: 90 must be below max_wait_s (60)"),
        ("models.m = {path = '/m', trigger.min_samples = 3}", "models.m.trigger.min_samples: unknown; did you mean models.m.trigger.min_new_samples?"),
        ("models.m = {path = '/m', trigger = 3}", "models.m.trigger: 3 is not a table"),
        ("models.m = 3", "models.m: 3 is not a table"),
        ("models = [3]", "models: [3] is not a table"),
        ("trigger.max_wait_s = 'x'\nmodels.m = {path = '/m', trigger.quiet_s = 9999}", "trigger.max_wait_s: 'x' is not a number"),
        ("budget.release_after_s = 86401", "budget.release_after_s: 86401 is too high (allowed: up to 86400)"),
        ("worker.max_running = 0", "worker.max_running: 0 is too low (allowed: from 1)"),
        ("worker.max_running = 65", "worker.max_running: 65 is too high (allowed: up to 64)"),
        ("worker.checkpoint_s = 0.5", "worker.checkpoint_s: 0.5 is too low (allowed: from 1)"),
        ("worker.silence_s = 0.5", "worker.silence_s: 0.5 is too low (allowed: from 1)"),
        ("worker.executor = ''", "worker.executor: must not be empty"),
        ("history.versions = 1", "history.versions: 1 is too low (allowed: from 2)"),
        ("ingest.settle_s = nan", "ingest.settle_s: nan is not a number"),
        ('state = "here"', "state: 'here' is relative; give an absolute path, or one that begins with ~/"),
        ('mqtt.prefix = "a/b"', "mqtt.prefix: 'a/b' is no topic level (1 to 64 characters, no / + # $ and no control characters)"),
        ('mqtt.allow = ["reboot"]', "mqtt.allow.0: 'reboot' is not known (allowed: 'train', 'pause', 'resume', 'cancel', 'promote', 'rollback', 'mode', 'rescan', 'forget' or 'status')"),
        ('mqtt.username = "u"', "mqtt.username: is for an external broker: set mqtt.host"),
        ('mqtt.host = "h"\nmqtt.password_file = "/p"', "mqtt.password_file: needs username as well"),
        ('mqtt.tls.key_file = "/k"', "mqtt.tls.key_file: needs cert_file as well"),
        ('models.m = {path = "/m", parameters = {epochs = "x"}}', "models.m.parameters.epochs: 'x' is neither a number nor true or false"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_what_is_allowed(text: str, line: str) -> None:
    assert mistakes(text) == [line]


DIGITS, LEVELS = 5000, 5000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"worker.threads = 1{'0' * DIGITS}", "not TOML"),  # Python reads no more than 4300 digits,
        (f"worker.threads = 0x1{'0' * DIGITS}", "worker.threads: this int is too high"),  # and writes no more
        (f"trigger.quiet_s = 1{'0' * 400}", "trigger.quiet_s: 1"),  # no float is so large
        (f"models.m = {{path = '/m', parameters.epochs = {2**63}}}", "models.m.parameters.epochs: is infinite, too large"),
        ("models.m = {path = '/m', parameters.epochs = nan}", "models.m.parameters.epochs: is infinite, too large"),
        (f"state = {'[' * LEVELS}{']' * LEVELS}", "nested too deeply"),
        (f"state = {'[' * 200}{']' * 200}", "state: [[["),
        (f"{'x.' * LEVELS}y = 1", "x: unknown"),
        (r'state = "/\u0000"', "state: no path has a zero character in it"),
        (f'state = "{"x" * 100_000}"', "state: 'xxx"),
        ("log.level = 1979-05-27", "log.level: datetime.date(1979, 5, 27) is not known"),
        ('mqtt.port = "{value} {0}"', "mqtt.port: '{value} {0}' is not a whole number"),
        ("[[models]]", "models: [{}] is not a table"),
    ],
)  # fmt: skip
def test_the_strangest_file_is_refused_in_one_short_sentence(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
        parse(text)
    assert len(str(caught.value)) < 300


def toml(value: object) -> str:
    """Write a value as TOML has it; tables in one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case float() | date():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


NAMES = sorted(
    {part for key in keys(Config()) for part in key.split(".")} | {"path", "fit", "labels", "parameters", "m"}
)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
plain = (
    st.integers()
    | st.floats()
    | st.booleans()
    | words
    | st.dates()
    | st.sampled_from(["/m", "~/m", "{x}", "auto"])
)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | words, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(NAMES), values, max_size=4))
def test_whatever_a_file_says_it_is_taken_or_every_mistake_in_it_has_a_line(table: dict[str, Any]) -> None:
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in table.items())
    with contextlib.suppress(ConfigurationError):
        config = parse(text)
        assert parse(text) == config
        assert all(rule_of(config, name).quiet_s < rule_of(config, name).max_wait_s for name in config.models)


def test_the_value_of_an_unknown_key_is_not_repeated() -> None:
    assert "hunter2" not in "".join(mistakes('mqtt.password = "hunter2"'))


def test_a_model_whose_name_cannot_be_a_folder_is_refused() -> None:
    (line,) = mistakes('models."../x" = {path = "/m"}')
    assert line.startswith("models.../x: '../x' cannot be a model's name")


def test_a_syntax_error_says_its_line() -> None:
    with pytest.raises(ConfigurationError, match="line 2"):
        parse("[mqtt]\nport =\n")


# ── where things are ────────────────────────────────────────────────────────────────────────────
def test_a_section_that_is_written_twice_comes_with_a_hint() -> None:
    text = "[budget]\nbattery.on_battery = 'pause'\n[budget.battery]\npause = 20"
    with pytest.raises(ConfigurationError, match=r"write `c` below the head"):
        parse(text)


def test_a_default_file_that_is_missing_means_the_defaults(tmp_path: Path) -> None:
    assert load(environ={"CONFIGURATION_DIRECTORY": str(tmp_path)}) == Config()


def test_a_default_file_that_is_there_is_read(tmp_path: Path) -> None:
    (tmp_path / "finetuned.toml").write_text("worker.nice = 3\n")
    assert load(environ={"CONFIGURATION_DIRECTORY": str(tmp_path)}).worker.nice == 3


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("uid", "environ", "expected"),
    [
        (0, {}, ("/etc/finetuned", "/var/lib/finetuned", "/var/lib/finetuned/run")),
        (1000, {"HOME": "/home/a"}, ("/home/a/.config/finetuned", "/home/a/.local/state/finetuned", "/home/a/.local/state/finetuned/run")),
        (1000, {"HOME": "/home/a", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"}, ("/c/finetuned", "/s/finetuned", "/r/finetuned")),
        (1000, {"HOME": "/home/a", "XDG_STATE_HOME": "relative"}, ("/home/a/.config/finetuned", "/home/a/.local/state/finetuned", "/home/a/.local/state/finetuned/run")),
        (500, {"CONFIGURATION_DIRECTORY": "/C:/D", "STATE_DIRECTORY": "/S", "RUNTIME_DIRECTORY": "/R", "XDG_RUNTIME_DIR": "/r"}, ("/C", "/S", "/R")),
    ],
)  # fmt: skip
def test_folders_are_systemds_or_the_systems_or_the_users(
    monkeypatch: pytest.MonkeyPatch, uid: int, environ: dict[str, str], expected: tuple[str, str, str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    found = places(Config(), environ)
    config, state, runtime = map(Path, expected)
    assert default_file(environ) == config / "finetuned.toml"
    assert (found.state, found.inbox, found.runtime) == (state, state / "inbox", runtime)


def test_configured_folders_win() -> None:
    found = places(parse('state = "/a"\ninbox = "/b"'), {"STATE_DIRECTORY": "/S"})
    assert (found.state, found.inbox, found.runtime) == (Path("/a"), Path("/b"), Path("/a/run"))


# ── the password ────────────────────────────────────────────────────────────────────────────────
def external(path: Path) -> Config:
    return parse(f'mqtt = {{host = "h", username = "u", password_file = "{path}"}}')


def secret(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_password_comes_from_its_file(tmp_path: Path) -> None:
    found = password(external(secret(tmp_path / "p", b"hunter2\n")).mqtt, {})
    assert found is not None
    assert found == "hunter2"


def test_without_a_file_it_is_systemds_credential(tmp_path: Path) -> None:
    secret(tmp_path / "mqtt-password", b"hunter2", 0o440)
    found = password(Config().mqtt, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found is not None
    assert found == "hunter2"
    assert password(Config().mqtt, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}) is None


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"hunter2", 0o644, "can be read by everybody; chmod o="),
        (b"hunter2\nhunter3\n", 0o600, "holds 2 lines"),
        (b"", 0o600, "holds 0 lines"),
        (b"hunter2\xff\n", 0o600, "is not UTF-8"),
        (b"hunter2" * 10_000, 0o600, "is larger than a password can be"),
    ],
)
def test_a_password_file_that_is_no_secret_or_no_line_is_refused(
    tmp_path: Path, content: bytes, mode: int, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^mqtt\.password_file: .*{reason}") as caught:
        password(external(secret(tmp_path / "p", content, mode)).mqtt, {})
    assert "hunter" not in str(caught.value)


def test_a_password_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^mqtt\.password_file: .* cannot be read: No such file"):
        password(external(tmp_path / "none").mqtt, {})


def test_a_pipe_is_no_password_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)  # to read it would wait for ever
    with pytest.raises(ConfigurationError, match="is not a file"):
        password(external(tmp_path / "pipe").mqtt, {})


def test_the_daemon_receives_what_the_command_has_checked() -> None:
    checked = parse(
        '[models.hands]\npath = "/m"\nlabels = { rock = "✊" }\nparameters = { epochs = 3 }\ntrigger.quiet_s = 1\n[mqtt]\nport = 1884'
    )
    memory = os.memfd_create("test")
    os.write(memory, checked.model_dump_json().encode())
    os.lseek(memory, 0, os.SEEK_SET)
    found = received(memory)
    assert found.mqtt.port == 1884
    assert found.budget.thermal.pause == Config().budget.thermal.pause
    assert found.models["hands"].labels == {"rock": "✊"}
    assert found.models["hands"].parameters == {"epochs": 3}
    assert rule_of(found, "hands") == rule_of(checked, "hands") == Rule(quiet_s=1.0)
    assert rule_of(found, "any") == Rule()
