"""Who comes in, and who may do what: roles and TLS against mosquitto, and where a password must not be."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from bridges import BASE, DEADLINE_S, NODE, bridged, epoch, subscribed
from brokers import MOSQUITTO, PASSWORD, client, free_port
from finetuned.edge.broker import LOOPBACK, external
from finetuned.edge.client import connected
from finetuned.edge.config import Mqtt, Tls
from finetuned.edge.homeassistant.announcer import HomeAssistant
from finetuned.edge.topics import Topics
from finetuned.errors import ConfigurationError, HostError
from secured import ADMIN, CONFIG, DAEMON, ROLES, Authority, Guarded
from shared import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiomqtt

    from finetuned.edge.broker import Address

DOCUMENT = (Path(__file__).parents[2] / "docs/broker.md").read_text()
END = f"finetuned/{DAEMON}/state"  # what is published last; both sides of every role hear it, or say it, by the table


@asynccontextmanager
async def guarded(folder: Path, *, node: str = NODE, tls: tuple[str, ...] = ()) -> AsyncIterator[Guarded]:
    """Run mosquitto with the roles of config/."""
    if MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    broker = Guarded(folder=folder, node=node, tls=tls)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.kill()


def rows(mark: str) -> list[list[str]]:
    """Return the cells of a table of the document, its head first; `mark` is before or in it."""
    table = re.search(r"(\| .*?)\n(?!\|)", DOCUMENT.partition(mark)[2], re.DOTALL)
    assert table
    lines = [line for line in table[1].splitlines() if not line.startswith("| ---")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


# ── roles ───────────────────────────────────────────────────────────────────────────────────────
async def heard(connection: aiomqtt.Client, payload: bytes) -> list[str]:
    """Return the topics of all messages up to this payload."""
    topics: list[str] = []
    async with asyncio.timeout(DEADLINE_S):
        async for message in connection.messages:
            if message.payload == payload:
                return topics
            topics.append(str(message.topic))
    raise AssertionError


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_hears_and_says_what_the_document_says_and_nothing_else(
    tmp_path: Path, role: str
) -> None:
    head, *body = rows("<!-- roles -->")
    table = {row[0]: row[head.index(role)] for row in body}
    async with (
        guarded(tmp_path, node=DAEMON) as broker,
        client(broker.as_(ADMIN)) as admin,
        client(broker.as_(role)) as member,
    ):
        for each in (admin, member):
            await each.subscribe("#", qos=1)
        for topic in table:
            await member.publish(topic, role.encode(), qos=1)
        await admin.publish("end", b"end of saying", qos=1)
        said = await heard(admin, b"end of saying")
        for topic in table:
            await admin.publish(topic, b"admin", qos=1)
        # What ends the hearing must be allowed to every role; of its own saying a role hears what it may read.
        own = f"finetuned/{role}/state" if role in {DAEMON, "nas-81c0"} else END
        await admin.publish(own, b"end of hearing", qos=1)
        got = (await heard(member, b"end of hearing"))[-len(table) :]
    assert said == [topic for topic, ways in table.items() if "write" in ways]
    assert set(got) == {topic for topic, ways in table.items() if "read" in ways}


async def test_a_daemon_and_those_around_it_get_along_with_their_roles(tmp_path: Path) -> None:
    announcer = HomeAssistant(Topics("finetuned", NODE), "homeassistant", "en")
    with capture_logs() as logs:
        async with (
            guarded(tmp_path) as broker,
            subscribed(broker.as_("reader")) as reader,
            subscribed(broker.as_("homeassistant"), "homeassistant/#") as home,
            bridged(broker.as_(NODE), tmp_path, announcers=(announcer,)) as behind,
        ):
            behind.outbox.state("state", b'{"version": "0.1.0", "readings": {}}')
            found = await home.hear(f"homeassistant/device/{NODE}/config")
            assert found.json["components"]
            await home.client.publish("homeassistant/status", b"online", qos=1)
            await home.hear(found.topic)  # again, for a Home Assistant that starts
            await reader.online()
            await behind.happen("one.png")
            await reader.hear("event/sampleAccepted")
            behind.outbox.progress(epoch(1))
            await reader.hear("event/epochEnd")
            behind.outbox.state("model/hands", b"{}")
            await reader.hear("model/hands/state")
            async with connected(broker.as_("operator")) as daemon:
                assert await daemon.request("train", {"model": "hands"}) == {"call": 1}
            async with client(broker.as_("operator")) as operator, subscribed(broker.as_(ADMIN)) as admin:
                await operator.publish(f"{BASE}/request/train", b"{}", qos=1, retain=True)
                await admin.hear("request/train", payload=b"")  # cleared by the daemon
            await behind.outbox.drained()
    assert [entry for entry in logs if entry["log_level"] == "warning"] == []


async def test_a_reader_watches_and_is_told_that_it_may_not_ask(tmp_path: Path) -> None:
    async with guarded(tmp_path) as broker, bridged(broker.as_(NODE), tmp_path) as behind:
        async with connected(replace(broker.as_("reader"), node=""), events=True) as daemon:
            told = daemon.events()
            async with asyncio.timeout(DEADLINE_S):
                assert await anext(told) == ("availability", {"availability": "online"})
                await behind.happen("one.png")
                assert (await anext(told))[0] == "event/sampleAccepted"
            with pytest.raises(
                HostError, match=r"refuses .*request/status: Not authorized; check its access"
            ):
                await daemon.request("status")
        assert behind.calls == []


async def test_the_command_watch_is_a_readers(tmp_path: Path) -> None:
    (tmp_path / "password").touch(0o600)
    (tmp_path / "password").write_text(PASSWORD)
    async with guarded(tmp_path) as broker, bridged(broker.as_(NODE), tmp_path) as behind:
        account = f'username = "reader", password_file = "{tmp_path / "password"}"'
        (tmp_path / "watch.toml").write_text(
            f'mqtt = {{ host = "{LOOPBACK}", port = {broker.address.port}, {account} }}'
        )
        command = (
            sys.executable,
            "-P",
            "-m",
            "finetuned",
            "watch",
            "--json",
            "-c",
            str(tmp_path / "watch.toml"),
        )
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert process.stdout
        reading = asyncio.create_task(process.stdout.readline())
        async with asyncio.timeout(60):
            while not reading.done():  # when it listens, nobody says
                await behind.happen("one.png")
                await asyncio.wait({reading}, timeout=0.2)
        process.kill()
        await process.communicate()
    assert json.loads(reading.result())["name"] == "one.png"


async def test_nobody_comes_in_unknown_or_with_a_wrong_password(tmp_path: Path) -> None:
    async with guarded(tmp_path) as broker:
        known = broker.as_("reader")
        nobody = replace(known, username="", password="")
        for wrong in replace(known, password="wrong"), replace(known, username="nobody"), nobody:  # noqa: S106
            with pytest.raises(HostError, match=r"[Nn]ot authori[sz]ed"):
                async with connected(wrong):
                    pass


async def test_the_example_of_a_configuration_is_one_that_mosquitto_takes(
    tmp_path: Path, authority: Authority
) -> None:
    certificate, key = authority.issue("broker")
    own = {
        "certs/broker.crt": certificate,
        "certs/broker.key": key,
        "certs/ca.crt": authority.certificate,
        "finetuned.acl": str(CONFIG / "mosquitto.acl"),
    }
    text = (
        (CONFIG / "mosquitto.conf").read_text().replace("listener 8883", f"listener {free_port()} {LOOPBACK}")
    )
    for name, path in own.items():
        text = text.replace(f"/etc/mosquitto/{name}", path)
    async with guarded(tmp_path) as broker:
        (tmp_path / "mosquitto.conf").write_text(f"user root\nlog_dest stderr\n{text}")
        await broker.kill()
        await broker.start()  # ends where a line is wrong


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("certificates") / "strangers")


async def trouble(address: Address, folder: Path) -> str:
    """Return what a bridge logs of its first attempt to connect."""
    tried = asyncio.Event()

    async def rest(_delay: float) -> None:
        tried.set()
        await asyncio.get_running_loop().create_future()

    with capture_logs() as logs:
        async with bridged(address, folder, rest=rest), asyncio.timeout(DEADLINE_S):
            await tried.wait()
    (said,) = [entry["reason"] for entry in logs if entry["event"] == "trouble with the broker"]
    return str(said)


def test_the_documents_commands_make_certificates(tmp_path: Path) -> None:
    commands = DOCUMENT.partition("<!-- openssl -->\n```sh\n")[2].partition("```")[0]
    subprocess.run(["sh", "-euc", commands], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(tmp_path / "pi-3fa2.crt", tmp_path / "pi-3fa2.key")
    # Strict, as Python from 3.13 on.
    verify = "openssl verify -x509_strict -CAfile ca.crt -verify_hostname broker.home broker.crt"
    subprocess.run(verify.split(), cwd=tmp_path, check=True, capture_output=True)


async def test_certificates_are_accounts(tmp_path: Path, authority: Authority) -> None:
    lines = authority.listener(authority.issue("broker"))
    async with (
        guarded(tmp_path, tls=lines) as broker,
        bridged(broker.as_(NODE, authority.client(NODE)), tmp_path) as behind,
        connected(broker.as_("anything", authority.client("operator")), events=True) as daemon,
        connected(broker.as_("operator", authority.client("reader"))) as reader,
    ):
        async with asyncio.timeout(DEADLINE_S):
            assert (await anext(daemon.events()))[1] == {"availability": "online"}
        assert await daemon.request("train", {"model": "hands"}) == {"call": 1}
        # The user that it says it is counts for nothing.
        with pytest.raises(HostError, match="Not authorized"):
            await reader.request("train", {"model": "hands"})
        assert len(behind.calls) == 1


# What the document says is wrong → the listener's lines and who comes; both get our authority and a stranger.
Case = tuple[Callable[[Authority], tuple[str, ...]], Callable[[Authority, Authority], Tls]]


def ours(authority: Authority) -> tuple[str, ...]:
    return authority.listener(authority.issue("broker"))


def me(authority: Authority, _: Authority) -> Tls:
    return authority.client(NODE)


def expired(authority: Authority) -> tuple[str, ...]:
    return authority.listener(authority.issue("expired", days=-1))


def elsewhere(authority: Authority) -> tuple[str, ...]:
    return authority.listener(authority.issue("elsewhere", "IP:127.0.0.9,DNS:localhost"))


WRONG: dict[str, Case] = {
    "no client certificate": (ours, lambda us, _: Tls(enabled=True, ca_file=us.certificate)),
    "one that another authority signed": (
        ours,
        lambda us, they: they.client(NODE).model_copy(update={"ca_file": us.certificate}),
    ),
    "our certificate has expired": (ours, lambda us, _: us.client(NODE, days=-1)),
    "the broker's is of another authority": (
        ours,
        lambda us, they: us.client(NODE).model_copy(update={"ca_file": they.certificate}),
    ),
    "the broker's is for another name": (elsewhere, me),
    "the broker's has expired": (expired, me),
    "no TLS on that port": (lambda _: (), me),
    "TLS, and the configuration has none": (ours, lambda *_: Tls()),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_wrong_with_tls_is_logged_as_the_document_says(
    tmp_path: Path, authority: Authority, stranger: Authority, wrong: str
) -> None:
    listener, comer = WRONG[wrong]
    tls = comer(authority, stranger)
    async with guarded(tmp_path, tls=listener(authority)) as broker:
        said = await trouble(broker.as_(NODE, tls), tmp_path)
    assert dict(rows("<!-- wrong -->"))[wrong] in said


async def test_a_broker_that_speaks_tls_1_1_only_is_refused(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("old")
    port = free_port()
    command = f"openssl s_server -accept {LOOPBACK}:{port} -cert {certificate} -key {key} -tls1_1"
    server = await asyncio.create_subprocess_exec(
        *command.split(), "-cipher", "ALL:@SECLEVEL=0", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert server.stdout
        while b"ACCEPT" not in await server.stdout.readline():
            pass
        address = external(Mqtt(host=LOOPBACK, port=port, tls=authority.client(NODE)), {}, NODE)
        said = await trouble(address, tmp_path)
    finally:
        server.kill()
        await server.communicate()
    assert dict(rows("<!-- wrong -->"))["the broker speaks TLS 1.1 only"] in said


def locked(folder: Path, key: str) -> Path:
    made = folder / "locked.key"
    command = f"openssl pkey -in {key} -aes256 -passout pass:secret -out {made}"
    subprocess.run(command.split(), check=True)
    return made


@pytest.mark.parametrize(
    ("key", "content", "says"),
    [
        ("ca_file", None, "cannot be read: No such file"),
        ("ca_file", "nothing", "holds no certificate"),
        ("cert_file", None, "cannot be read: No such file"),
        ("cert_file", "nothing", "holds no certificate"),
        ("key_file", None, "cannot be read: No such file"),
        ("key_file", "nothing", "holds no private key"),
        ("key_file", "another", "is not the key of the certificate"),
        ("key_file", "locked", "is locked by a pass phrase, and nobody is there to type it"),
    ],
)
def test_a_file_for_tls_that_is_of_no_use_is_a_configuration_error_that_names_its_key(
    tmp_path: Path, authority: Authority, key: str, content: str | None, says: str
) -> None:
    path = tmp_path / "file"
    tls = authority.client(NODE)
    if content == "locked":
        path = locked(tmp_path, tls.key_file)
    elif content == "another":
        path = Path(authority.issue("another")[1])
    elif content is not None:
        path.write_text(content)
    mqtt = Mqtt(host=LOOPBACK, tls=tls.model_copy(update={key: str(path)}))
    with pytest.raises(ConfigurationError, match=rf"mqtt\.tls\.{key}: {path} {says}"):
        external(mqtt, {})


async def test_a_certificate_that_is_renewed_is_taken_at_the_next_connection(
    tmp_path: Path, authority: Authority
) -> None:
    late = authority.client(NODE, days=-1)
    async with guarded(tmp_path, tls=ours(authority)) as broker:

        async def renew(_delay: float) -> None:
            authority.client(NODE)

        async with (
            connected(broker.as_("reader", authority.client("reader")), events=True) as reader,
            bridged(broker.as_(NODE, late), tmp_path, rest=renew),
            asyncio.timeout(DEADLINE_S),
        ):
            assert (await anext(reader.events()))[1] == {"availability": "online"}
