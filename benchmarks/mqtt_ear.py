"""A subscriber as others write them (paho, in a process of its own): `python mqtt_ear.py BROKER.json FILTER OUT`.

It says `ready` when it is subscribed; for each message it keeps the moment of its arrival, and writes them at SIGTERM:
CLOCK_MONOTONIC in ns, topic and payload, by tabs.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from paho.mqtt import client as paho


def main() -> None:
    """Listen until SIGTERM."""
    broker, topic, out = json.loads(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    heard: list[tuple[int, str, bytes]] = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    if broker["username"]:
        client.username_pw_set(broker["username"], broker["password"])

    def connected(*_: Any) -> None:  # noqa: ANN401 - paho's
        client.subscribe(topic, 1)

    def take(_: Any, __: Any, message: paho.MQTTMessage) -> None:  # noqa: ANN401 - paho's
        heard.append((time.monotonic_ns(), message.topic, message.payload))

    client.on_connect = connected
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = take
    client.connect(broker["host"], broker["port"])
    signal.signal(signal.SIGTERM, lambda *_: client.disconnect())
    client.loop_forever()
    out.write_bytes(b"".join(b"%d\t%s\t%s\n" % (at, where.encode(), said) for at, where, said in heard))


if __name__ == "__main__":
    main()
