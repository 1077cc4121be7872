"""A child process for the tests of the channel: what it does stands in the second word of a Describe."""

from __future__ import annotations

import os
import signal
import sys
import time

from finetuned.service.channel import SyncChannel
from finetuned.service.messages import Decoded, Describe, Failed, Undecodable


def main() -> None:
    """Answer every Describe by what its path asks for, until the daemon is gone."""
    channel: SyncChannel[Describe] = SyncChannel.inherited(Describe)
    while True:
        try:
            message = channel.receive()
        except EOFError:
            sys.exit(7)
        answer(channel, message.path if message else "")


def answer(channel: SyncChannel[Describe], wish: str) -> None:
    """Do what `wish` says."""
    match wish.split():
        case ["echo", *words]:
            channel.send(Undecodable(reason=" ".join(words)))
        case ["environment", name]:
            channel.send(Undecodable(reason=os.environ.get(name, "")))
        case ["session"]:
            channel.send(Undecodable(reason=str(os.getsid(0))))
        case ["bytes", size]:
            channel.send(Decoded(size=int(size)), b"x" * int(size))
        case ["die", last_words]:
            sys.stderr.write("a" * 10_000 + last_words)
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        case ["other"]:
            channel.send(Failed(fault="model", error="not one of the types that were agreed on"))
        case ["deaf"]:
            time.sleep(3600)


if __name__ == "__main__":
    main()
