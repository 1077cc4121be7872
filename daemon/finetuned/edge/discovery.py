"""Which daemon a command speaks to: the one that was chosen, the only one on the broker, or the one of this machine."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from finetuned.edge.topics import OFFLINE, ONLINE, level, name_of
from finetuned.edge.wording import harmless
from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetuned.edge.connection import Connection

DISCOVERY_S = 2.0
# Brokers send what is retained in one go: after the first daemon no other is long in coming.
DISCOVERY_MORE_S = 0.2
MAX_NODES, NODES_SHOWN = 1000, 12


async def discovered(connection: Connection, prefix: str, chosen: str, *, may_be_offline: bool) -> str:
    """Return the node that was chosen, or the only one; of several, the one of this machine.

    Raises:
        HostError: there is none, it is offline, or there are several; the message lists them.
    """
    if chosen:
        return await _chosen(connection, prefix, chosen, may_be_offline=may_be_offline)
    seen = await _seen(connection, f"{prefix}/+/availability")
    online = {node for node, is_online in seen.items() if is_online}
    found = online or (set(seen) if may_be_offline else set())
    here = {node for node in found if node.rpartition("-")[0] == socket.gethostname()}
    if len(here or found) == 1:
        return (here or found).pop()
    raise HostError(_none_or_many(prefix, seen))


async def _chosen(connection: Connection, prefix: str, chosen: str, *, may_be_offline: bool) -> str:
    """Return the chosen node, whatever else the broker has to say; look at the others only where it is not there."""
    seen = await _seen(connection, f"{prefix}/{level(chosen)}/availability")
    if seen.get(chosen) or (seen and may_be_offline):
        return chosen
    raise HostError(_missed(chosen, prefix, seen or await _seen(connection, f"{prefix}/+/availability")))


async def _seen(connection: Connection, availability: str) -> dict[str, bool]:
    """Return the daemons that have ever been at this filter, and whether each is online now."""
    seen: dict[str, bool] = {}
    await connection.listen(availability)
    latest = asyncio.get_running_loop().time() + DISCOVERY_S
    try:
        async with asyncio.timeout_at(latest) as deadline:
            async for message in connection.messages:
                if message.topic.matches(availability) and message.payload in {ONLINE, OFFLINE}:
                    seen[name_of(str(message.topic).split("/")[-2])] = message.payload == ONLINE
                    soon = asyncio.get_running_loop().time() + DISCOVERY_MORE_S
                    deadline.reschedule(min(latest, soon if any(seen.values()) else latest))
                if (seen and "+" not in availability) or len(seen) >= MAX_NODES:
                    break
    except TimeoutError:
        pass
    await connection.unsubscribe(availability)
    return seen


def _missed(chosen: str, prefix: str, seen: Mapping[str, bool]) -> str:
    if chosen in seen:
        return f"the daemon {harmless(chosen)} is offline: is its machine up, and the daemon running there?"
    return f"no daemon {harmless(chosen)} has ever been below {prefix}/ on this broker; {_listed(seen) or 'nor any other'}"


def _none_or_many(prefix: str, seen: Mapping[str, bool]) -> str:
    if sum(seen.values()) > 1:
        return f"several daemons are online below {prefix}/ on this broker: choose one with --node; {_listed(seen)}"
    if seen:
        return f"no daemon is online below {prefix}/ on this broker; {_listed(seen)}"
    return (
        f"no daemon has ever been below {prefix}/ on this broker: "
        "is one running, does it use this broker and mqtt.prefix, and may you read its topics?"
    )


def _listed(seen: Mapping[str, bool]) -> str:
    """Say which daemons there are, those first that are online."""
    names = sorted(seen, key=lambda node: (not seen[node], node))
    said = ", ".join(f"{harmless(node)}{'' if seen[node] else ' (offline)'}" for node in names[:NODES_SHOWN])
    more = len(names) - NODES_SHOWN
    return f"there are: {said}{f' and {more} more' if more > 0 else ''}" if names else ""
