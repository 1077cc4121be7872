"""Commands on another machine: a network of its own, a configuration file, and nothing of the daemon's but its broker."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from acceptance.house import PATIENCE_S, House, digits, drop_digits
from brokers import MOSQUITTO, PASSWORD, USER, Mosquitto, client
from shared import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)

ITS_OWN = """
hostname elsewhere
for place in /var/lib /run "$HOME" "$0"; do mount -t tmpfs -o ro none "$place"; done
exec "$@"
"""
"""A name of its own, and no place where a state folder could be seen or made."""
LINE = """
link add {ours} type veth peer name {its} netns {name}
addr add {here}/30 dev {ours}
link set {ours} up
-n {name} addr add {there}/30 dev {its}
-n {name} link set {its} up
-n {name} link set lo up
"""
CONFIGURATION = """\
[mqtt]
host = "{host}"
port = {port}
username = "{user}"
password_file = "{password_file}"
tls = {{ enabled = true, ca_file = "{ca_file}" }}
"""


# ── the other machine ───────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that reaches this one as `here`; `folder` is its own, `hidden` is what it cannot see."""

    name: str
    here: str
    folder: Path
    hidden: Path

    def command(self, *words: str) -> list[str]:
        """Return a command as it is started there."""
        apart = (
            "unshare",
            "--uts",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            ITS_OWN,
            str(self.hidden),
        )
        config = ("-c", str(self.folder / "finetuned.toml"))
        finetuned = (sys.executable, "-P", "-m", "finetuned", *words, *config)
        return ["ip", "netns", "exec", self.name, *apart, *finetuned]

    @property
    def environ(self) -> dict[str, str]:
        """A home, and nothing that could tell of the daemon."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}

    def configure(self, authority: Path, **changed: object) -> None:
        """Write the configuration and the two files that it names."""
        (self.folder / "password").write_text(str(changed.pop("password", PASSWORD)))
        (self.folder / "password").chmod(0o600)
        (self.folder / "ca.pem").write_bytes(authority.read_bytes())
        known = {"host": self.here, "port": 8883, "user": USER}
        files = {"password_file": self.folder / "password", "ca_file": self.folder / "ca.pem"}
        (self.folder / "finetuned.toml").write_text(CONFIGURATION.format(**{**known, **files, **changed}))

    async def finetuned(self, *words: str) -> tuple[int | None, str, str]:
        """Run a command there; return its status and what it said."""
        async with self.started(*words) as process, asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    @asynccontextmanager
    async def started(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start a command there; it is killed at the end if it still runs."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environ,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A network namespace at the other end of a line, where there may be one."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        missing(
            "left out: only root, with iproute2, may lay a line to another network (apt-get install iproute2)"
        )
    number = secrets.randbelow(16_000)  # the kernel may still be taking away what an earlier test had
    name = f"finetuned-{number}"
    here, there = (f"198.18.{number // 64}.{number % 64 * 4 + end}" for end in (1, 2))
    folder, hidden = tmp_path / "elsewhere", tmp_path / "machine"
    for each in folder, hidden:
        each.mkdir()
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        missing(f"left out: no network namespace can be had here ({made.stderr.strip()})")
    ours, its = f"ft{number}o", f"ft{number}i"
    with _removed_at_the_end(name, ours):
        for line in LINE.format(name=name, here=here, there=there, ours=ours, its=its).split("\n"):
            if line:
                subprocess.run(["ip", *shlex.split(line)], check=True)
        yield Machine(name=name, here=here, folder=folder, hidden=hidden)


@contextmanager
def _removed_at_the_end(name: str, ours: str) -> Iterator[None]:
    """Take the line away with its network, which the kernel would do some time later."""
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "del", ours], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=True)


# ── the broker ──────────────────────────────────────────────────────────────────────────────────
def an_authority(folder: Path, name: str) -> Path:
    """Make a certificate authority; beside it lies its key."""
    made = folder / f"{name}.pem"
    openssl(f"req -x509 -nodes -days 2 -subj /CN={name} -keyout {made}.key -out {made} {CURVE}")
    return made


def signed(authority: Path, address: str) -> Path:
    """Have the authority sign a certificate for an address; the file holds the key as well."""
    made = authority.with_name("broker.pem")
    openssl(
        f"req -x509 -CA {authority} -CAkey {authority}.key -nodes -days 2 -subj /CN=broker -keyout {made}.key -out {made} "
        f"{CURVE} -addext subjectAltName=IP:{address} -addext basicConstraints=critical,CA:FALSE"
    )
    made.write_bytes(made.read_bytes() + made.with_name("broker.pem.key").read_bytes())
    return made


CURVE = "-newkey ec -pkeyopt ec_paramgen_curve:P-256"


def openssl(words: str) -> None:
    if shutil.which("openssl") is None:
        missing("left out: openssl is not installed (apt-get install openssl)")
    subprocess.run(["openssl", *shlex.split(words)], check=True, capture_output=True)


@pytest.fixture
def authority(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The authority that signed the certificate of every broker of this test, each of which has a door to the other machine."""
    if MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    made = an_authority(machine.hidden, "authority")
    certificate = signed(made, machine.here)

    class WithADoor(Mosquitto):
        def __post_init__(self) -> None:
            super().__post_init__()
            with (self.folder / "mosquitto.conf").open("a") as file:
                file.write(f"listener 8885 {machine.here}\n")
                file.write(f"listener 8883 {machine.here}\ncertfile {certificate}\nkeyfile {certificate}\n")

    monkeypatch.setattr("acceptance.house.Mosquitto", WithADoor)
    monkeypatch.setattr(sys.modules[__name__], "Mosquitto", WithADoor)
    return made


@asynccontextmanager
async def a_broker(machine: Machine) -> AsyncIterator[Mosquitto]:
    broker = Mosquitto(folder=machine.hidden)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.kill()


# ── what is seen from there ─────────────────────────────────────────────────────────────────────
async def until(stream: asyncio.StreamReader | None, what: str) -> str:
    """Read lines until one has this in it, and return that."""
    assert stream
    said = []
    async with asyncio.timeout(PATIENCE_S):
        while line := (await stream.readline()).decode():
            said.append(line)
            if what in line:
                return line
    raise AssertionError(f"never said: {what}, but {said}")


async def asked(machine: Machine, *words: str) -> dict[str, Any]:
    """Run a command that succeeds; return its answer."""
    status, out, err = await machine.finetuned(*words, "--json")
    assert (status, err) == (0, "")
    answer: dict[str, Any] = json.loads(out)
    return answer


async def waiting(house: House) -> None:
    """Drop the samples, and wait until they are all there."""
    drop_digits(house)
    await house.ear.until(
        lambda: sum(event.get("count", 1) for event in house.ear.events("sampleAccepted")) == 100, "samples"
    )


async def test_another_machine_looks_on_and_asks_with_nothing_but_a_configuration(
    machine: Machine, authority: Path
) -> None:
    async with digits(machine.hidden, least=1000) as house:
        machine.configure(authority)
        node = await house.node()
        assert (await asked(machine, "status"))["node"] == node
        async with machine.started("watch", "--node", node, "--json") as watch:
            await until(watch.stderr, f"watching {node}")
            await waiting(house)
            task = (await asked(machine, "train", "digits", "-p", "epochs=3", "--node", node))["task"]
            told = [json.loads(await until(watch.stdout, f'"{kind}"')) for kind in ("epochEnd", "completed")]
            assert [event["task"] for event in told] == [task, task]
            back = await asked(machine, "rollback", "digits")
            assert (back["version"], back["fromVersion"]) == (0, 1)
            assert json.loads(await until(watch.stdout, '"rolledBack"'))["version"] == 0
            assert (await asked(machine, "promote", "digits", "1"))["version"] == 1
            watch.send_signal(signal.SIGINT)
            assert await watch.wait() == 130
            assert watch.stderr
            assert await watch.stderr.read() == b""
        status, out, err = await machine.finetuned("status")
        assert (status, out) == (0, "")
        assert err.startswith(f"{node}  finetuned ")
        assert "digits  –     1        100" in err


# ── what can be wrong ───────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is configured otherwise, what is retained below availability, and what is said."""

    said: str
    changed: dict[str, object] = field(default_factory=dict)
    retained: dict[str, str] = field(default_factory=dict)
    authority: str = "authority"


TROUBLE = {
    "the broker is away": Trouble(changed={"port": 8884}, said="nobody listens there"),
    "nobody knows its name": Trouble(changed={"host": "broker.invalid"}, said="this name"),
    "there is no way to it": Trouble(changed={"host": "203.0.113.1"}, said="no way leads to this address"),
    "the password is wrong": Trouble(
        changed={"password": "guessed"}, said="it does not let user 'finetuned' in: check mqtt.username"
    ),
    "its authority is another": Trouble(authority="other", said="mqtt.tls.ca_file"),
    "its port speaks no TLS": Trouble(changed={"port": 8885}, said="does it speak TLS on this port"),
    "no daemon was ever there": Trouble(said="no daemon has ever been below finetuned/"),
    "its daemon is offline": Trouble(retained={"pi-3fa2": "offline"}, said="there are: pi-3fa2 (offline)"),
    "there are several": Trouble(
        retained={"a-1": "online", "b-2": "online"}, said="choose one with --node; there are: a-1, b-2"
    ),
}


@pytest.mark.parametrize("name", TROUBLE)
async def test_what_is_wrong_on_the_way_to_a_daemon_is_said_in_a_sentence(
    machine: Machine, authority: Path, name: str
) -> None:
    trouble = TROUBLE[name]
    async with a_broker(machine) as broker:
        known = (
            authority if trouble.authority == "authority" else an_authority(machine.hidden, trouble.authority)
        )
        machine.configure(known, **trouble.changed)
        async with client(broker.address) as daemon:
            for node, availability in trouble.retained.items():
                await daemon.publish(f"finetuned/{node}/availability", availability, qos=1, retain=True)
        status, out, err = await machine.finetuned("status")
        assert (status, out, trouble.said in err) == (1, "", True), err
        assert "Traceback" not in err
        status, out, err = await machine.finetuned("pause", "--json")
        assert (status, trouble.said in json.loads(out)["error"], err) == (1, True, "")


async def test_watch_says_what_is_wrong_and_goes_on_looking_until_ctrl_c(
    machine: Machine, authority: Path
) -> None:
    async with a_broker(machine) as broker:
        machine.configure(authority, password="guessed")  # noqa: S106 - a wrong one
        async with machine.started("watch") as watch:
            await until(watch.stderr, "not connected: the broker")
            machine.configure(authority)
            watch.send_signal(signal.SIGINT)
            assert await watch.wait() == 130
        async with client(broker.address) as daemon:
            await daemon.publish("finetuned/pi-3fa2/availability", "offline", qos=1, retain=True)
            async with machine.started("watch") as watch:
                await until(watch.stdout, "the daemon is offline")
                await daemon.publish("finetuned/pi-3fa2/availability", "online", qos=1, retain=True)
                await until(watch.stdout, "the daemon is online")
                await broker.kill()
                await until(watch.stderr, "not connected: the connection to the broker")
                watch.send_signal(signal.SIGINT)
                assert await watch.wait() == 130
