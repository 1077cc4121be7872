"""A process that runs nothing but a bridge, to be killed: argv is its folder, the port, user and password."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bridges import bridged
from finetuned.edge.broker import LOOPBACK, Address


async def main(folder: str, port: str, username: str, password: str) -> None:
    address = Address(host=LOOPBACK, port=int(port), username=username, password=password, mqtt5=False)
    async with bridged(address, Path(folder)):
        await asyncio.get_running_loop().create_future()


asyncio.run(main(*sys.argv[1:]))
