from __future__ import annotations

import asyncio
import gc
import json
import stat
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import aiomqtt
import pytest
from amqtt.mqtt.packet import MQTTFixedHeader
from amqtt.session import Session
from structlog.testing import capture_logs

from brokers import client, free_port, running
from finetuned.edge.broker import FILE, Address, embedded, external, read, write
from finetuned.edge.config import Config, Mqtt, Tls, parse
from finetuned.edge.embedded import Room, serve
from finetuned.errors import ConfigurationError, HostError
from scripted import packet, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ADDRESS = Address(host="127.0.0.1", port=1, username="u", password="p", node="n", mqtt5=False)  # noqa: S106
DEADLINE_S = 20


async def next_message(connection: aiomqtt.Client) -> aiomqtt.Message:
    async with asyncio.timeout(DEADLINE_S):
        return await anext(connection.messages)


# ── broker.json ─────────────────────────────────────────────────────────────────────────────────
async def test_broker_json_is_there_for_its_owner_while_the_broker_runs(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    async with embedded(runtime, "pi-3fa2") as address:
        assert stat.S_IMODE((runtime / FILE).stat().st_mode) == 0o600
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
        assert json.loads((runtime / FILE).read_text()).keys() == {"host", "port", "user", "password", "node"}
        assert read(runtime) == address
        assert (address.host, address.node) == ("127.0.0.1", "pi-3fa2")
    assert list(runtime.iterdir()) == []


async def test_another_daemons_broker_json_is_left_alone(tmp_path: Path) -> None:
    async with embedded(tmp_path, "mine"):
        write(tmp_path, ADDRESS)
    assert read(tmp_path) == ADDRESS


async def test_every_start_has_a_new_password_which_no_repr_shows(tmp_path: Path) -> None:
    async with embedded(tmp_path / "a", "a") as first, embedded(tmp_path / "b", "b") as second:
        assert first.password != second.password
        assert len(first.password) >= 43  # 32 bytes
        assert first.password not in repr(first)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"host": "h"}'])
def test_a_broker_json_that_is_none_is_no_address(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    assert read(tmp_path) is None


async def test_a_runtime_folder_that_cannot_be_written_is_the_hosts_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"broker\.json: cannot be written"):
        async with embedded(tmp_path / "file" / "run", "n"):
            pass


async def test_a_port_that_is_taken_is_the_hosts_fault(tmp_path: Path) -> None:
    async with embedded(tmp_path, "n") as address:
        with pytest.raises(HostError, match=f"cannot listen on 127.0.0.1:{address.port}"):
            async with embedded(tmp_path, "n", address.port):
                pass


async def test_a_given_port_is_used(tmp_path: Path) -> None:
    port = free_port()
    async with embedded(tmp_path, "n", port) as address:
        assert address.port == port


# ── an external one ─────────────────────────────────────────────────────────────────────────────
def test_an_external_brokers_address_is_the_configurations(tmp_path: Path) -> None:
    (tmp_path / "p").touch(0o600)
    (tmp_path / "p").write_text("secret\n")
    config = parse(
        f'mqtt = {{host = "h", username = "u", password_file = "{tmp_path / "p"}", tls = {{enabled = true}}}}'
    )
    address = external(config.mqtt, {})
    assert (address.host, address.port, address.username, address.password) == ("h", 1883, "u", "secret")
    assert address.tls == config.mqtt.tls
    assert address.mqtt5


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "key_file"])
def test_a_file_for_tls_that_is_not_there_is_named(tmp_path: Path, key: str) -> None:
    files = {"cert_file": __file__, "key_file": __file__} | {key: str(tmp_path / "none.pem")}
    mqtt = Mqtt(host="h", tls=Tls(enabled=True, **files))
    with pytest.raises(ConfigurationError, match=rf"mqtt\.tls\.{key}: .*none\.pem cannot be read"):
        external(mqtt, {})


def test_a_process_with_an_external_broker_does_not_carry_amqtt() -> None:
    code = "import sys, finetuned.edge.mqtt, finetuned.edge.client; sys.exit('amqtt' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ── what amqtt does for us, and what we correct ─────────────────────────────────────────────────
@pytest.mark.parametrize(
    "change", [{"password": "wrong"}, {"username": "else"}, {"username": "", "password": ""}]
)
async def test_nobody_comes_in_without_user_and_password(tmp_path: Path, change: dict[str, str]) -> None:
    async with running("embedded", tmp_path) as broker:
        with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
            async with client(replace(broker.address, **change)):  # type: ignore[arg-type]  # all are strings
                pass


async def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    async with embedded(tmp_path, "n") as address:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.2", address.port)


async def test_who_subscribes_to_nothing_hears_nothing(tmp_path: Path) -> None:
    async with running("embedded", tmp_path) as broker, client(broker.address) as other:
        await other.subscribe("#", qos=1)
        await other.publish("kept", b"x", qos=1, retain=True)
        await next_message(other)
        async with client(broker.address) as newcomer:
            await newcomer.subscribe("mine", qos=1)
            await newcomer.publish("mine", b"y", qos=1)
            message = await next_message(newcomer)
    assert (str(message.topic), message.payload) == ("mine", b"y")


async def test_many_who_come_and_subscribe_at_once_are_all_served(tmp_path: Path) -> None:
    async with running("embedded", tmp_path) as broker:

        async def come(number: int) -> bytes:
            async with client(broker.address) as connection:
                await connection.publish(f"kept/{number}", b"x", qos=1, retain=True)
                await connection.subscribe(f"kept/{number}", qos=1)
                message = await next_message(connection)
                assert isinstance(message.payload, bytes)
                return message.payload

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(come(number)) for number in range(20)]
    assert {task.result() for task in tasks} == {b"x"}


def sessions() -> list[Session]:
    """Return those there are; whoever keeps them keeps an earlier test's from going meanwhile."""
    gc.collect()
    # isinstance would ask each object who it is, and wake the lazy modules of those that other tests imported.
    return [each for each in gc.get_objects() if type(each) is Session]


async def test_nothing_is_kept_of_clients_that_were_refused(tmp_path: Path) -> None:
    before = sessions()
    async with running("embedded", tmp_path) as broker:
        for _ in range(3):
            with pytest.raises(aiomqtt.MqttError):
                async with client(replace(broker.address, password="wrong")):  # noqa: S106
                    pass
        async with client(broker.address):  # behind them
            assert len(sessions()) == len(before) + 1


@asynccontextmanager
async def raw(address: Address) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def connect(address: Address, identifier: str, flags: int = 0xC2) -> bytes:
    """A CONNECT with user and password; without bit 2 of the flags its session is to outlast the connection."""
    head = text("MQTT") + bytes([4, flags, 0, 30])
    return packet(0x10, head + text(identifier) + text(address.username) + text(address.password))


@asynccontextmanager
async def small(room: Room) -> AsyncIterator[Address]:
    async with serve("127.0.0.1", 0, "u", "p", room) as port:
        yield replace(ADDRESS, port=port)


async def ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(DEADLINE_S):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


async def test_strangers_who_stay_silent_take_no_place_of_who_knows_the_password() -> None:
    async with small(Room(clients=2, strangers=3, connect_s=600)) as address, AsyncExitStack() as stack:
        strangers = [await stack.enter_async_context(raw(address)) for _ in range(20)]
        assert [await ended(reader) for reader, _writer in strangers[:17]] == [True] * 17
        async with client(address), client(address):
            pass


async def test_who_never_says_the_password_is_turned_away() -> None:
    async with (
        small(Room(connect_s=1.0)) as address,
        client(address) as known,
        raw(address) as (reader, _writer),
    ):
        assert await ended(reader)
        await known.subscribe("x", qos=1)  # who has said it stays


async def test_beyond_the_clients_that_there_is_room_for_the_next_is_not_let_in() -> None:
    async with small(Room(clients=2)) as address:
        async with client(address), client(address), raw(address) as (reader, writer):
            writer.write(connect(address, "third"))
            assert await ended(reader)
        async with client(address):
            pass


@pytest.mark.parametrize("known", [True, False])
async def test_nothing_is_kept_of_a_session_that_was_to_outlast_its_connection(
    tmp_path: Path, *, known: bool
) -> None:
    before = sessions()
    async with running("embedded", tmp_path) as broker:
        address = broker.address if known else replace(broker.address, password="wrong")  # noqa: S106
        for number in range(3):
            async with raw(address) as (reader, writer):
                writer.write(connect(address, f"{number}", flags=0xC0))
                assert (await reader.readexactly(4))[3] == (0 if known else 5)
                if known:
                    writer.write(packet(0x82, b"\0\1" + text("#") + b"\1"))
                    await reader.readexactly(5)
        async with client(broker.address) as other, asyncio.timeout(DEADLINE_S):
            while len(sessions()) > len(before) + 1:
                await other.subscribe("x", qos=1)


async def test_strangers_do_not_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with capture_logs() as logs:
        async with running("embedded", tmp_path) as broker:
            for _ in range(100):
                async with raw(broker.address) as (reader, writer):
                    writer.write_eof()
                    assert await ended(reader)
    amqtts = [each for each in caplog.records if each.name.startswith("amqtt")]
    assert 0 < len(logs) + len(amqtts) < 100


async def test_what_fails_in_amqtts_own_tasks_is_a_line_in_the_log_and_what_fails_in_ours_is_not(
    tmp_path: Path,
) -> None:
    async def ours() -> None:
        raise LookupError

    uncaught: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: uncaught.append(type(context["exception"]))
    )
    with capture_logs() as logs:
        async with running("embedded", tmp_path):
            tasks = [asyncio.create_task(MQTTFixedHeader.from_stream(None)), asyncio.create_task(ours())]
            await asyncio.wait(tasks)
            tasks.clear()
            gc.collect()
    assert uncaught == [LookupError]
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("a client's message was not handled", "warning")
    ]


async def test_a_client_that_talks_nonsense_loses_its_connection_and_nobody_else_does(tmp_path: Path) -> None:
    async with running("embedded", tmp_path) as broker, client(broker.address) as other:
        for nonsense in b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\x7f", b"\x00" * 64:
            reader, writer = await asyncio.open_connection(broker.address.host, broker.address.port)
            writer.write(nonsense)
            writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() in {b"", b" \x02\x00\x01"}
            writer.close()
            await writer.wait_closed()
        await other.subscribe("x", qos=1)
        await other.publish("x", b"alive", qos=1)
        assert (await next_message(other)).payload == b"alive"


def test_the_default_configuration_has_no_external_broker() -> None:
    assert Config().mqtt.host == ""
