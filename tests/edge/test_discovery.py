"""Which daemon a command speaks to, on a broker that several use, by what is retained there."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from brokers import client, running
from finetuned.edge.client import connected
from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from finetuned.edge.broker import Address

HERE = f"{socket.gethostname()}-00ff"


@asynccontextmanager
async def a_rack(folder: Path, **nodes: str) -> AsyncIterator[Address]:
    """Yield a broker on which these nodes have said that they are online, or their wills that they are offline."""
    async with running("mosquitto", folder) as broker:
        async with client(broker.address) as said:
            for node, availability in nodes.items():
                topic = f"finetuned/{node.replace('_', '-')}/availability"
                await said.publish(topic, availability, qos=1, retain=True)
        yield replace(broker.address, node="")


@pytest.mark.parametrize(
    ("nodes", "chosen", "found"),
    [
        ({"a_1": "online"}, "", "a-1"),
        ({"a_1": "online", "b_2": "offline"}, "", "a-1"),
        ({"a_1": "online", HERE: "online"}, "", HERE),
        ({"a_1": "online", HERE: "online"}, "a-1", "a-1"),
        ({"a_1": "online", "b_2": "online"}, "b-2", "b-2"),
    ],
)
async def test_the_daemon_is_the_chosen_the_only_or_this_machines_own(
    tmp_path: Path, nodes: dict[str, str], chosen: str, found: str
) -> None:
    async with a_rack(tmp_path, **nodes) as address, connected(address, node=chosen) as daemon:
        assert daemon.topics.node == found


@pytest.mark.parametrize(
    ("nodes", "chosen", "said"),
    [
        ({}, "", "no daemon has ever been below finetuned/ on this broker: is one running"),
        ({}, "a-1", "no daemon a-1 has ever been below finetuned/ on this broker; nor any other"),
        ({"a_1": "offline"}, "", "no daemon is online below finetuned/ on this broker; there are: a-1 (offline)"),
        ({"a_1": "offline"}, "a-1", "the daemon a-1 is offline: is its machine up"),
        (
            {"a_1": "offline", "b_2": "online", "c_3": "online"},
            "",
            ("several daemons are online below finetuned/ on this broker: choose one with --node; "
            "there are: b-2, c-3, a-1 (offline)"),
        ),
        (
            {f"n_{n:02}": "online" for n in range(14)},
            "b-2",
            ("no daemon b-2 has ever been below finetuned/ on this broker; "
            f"there are: {', '.join(f'n-{n:02}' for n in range(12))} and 2 more"),
        ),
    ],
)  # fmt: skip
async def test_where_there_is_none_or_one_must_be_chosen_the_error_lists_those_that_there_are(
    tmp_path: Path, nodes: dict[str, str], chosen: str, said: str
) -> None:
    async with a_rack(tmp_path, **nodes) as address:
        with pytest.raises(HostError) as told:
            async with connected(address, node=chosen):
                pass
    assert str(told.value).startswith(said)


async def test_whoever_looks_on_may_choose_one_that_is_offline(tmp_path: Path) -> None:
    async with (
        a_rack(tmp_path, a_1="offline") as address,
        connected(address, node="a-1", events=True) as daemon,
    ):
        async for heard in daemon.events():
            assert heard == ("availability", {"availability": "offline"})
            break


async def test_an_embedded_brokers_daemon_is_known_and_no_other_can_be_chosen(tmp_path: Path) -> None:
    async with a_rack(tmp_path) as address:
        with pytest.raises(HostError, match="the daemon here is a-1; there is no b-2 on its broker"):
            async with connected(replace(address, node="a-1"), node="b-2"):
                pass
