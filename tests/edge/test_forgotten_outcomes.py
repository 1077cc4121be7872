"""What a broker has refused, and was forgotten meanwhile, is not published when it takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridges import BASE, bridged, subscribed
from brokers import running

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


def forget_the_first(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM outcomes WHERE id = 1")


async def test_an_outcome_that_is_forgotten_while_the_broker_refuses_it_is_left_out(tmp_path: Path) -> None:
    states = (f"topic readwrite {BASE}/{kind}" for kind in ("availability", "state", "model/#", "request/#"))
    acl = (*states, f"topic read {BASE}/#")
    async with (
        running("mosquitto", tmp_path, acl) as broker,
        subscribed(broker.address) as subscriber,
        bridged(broker.address, tmp_path) as behind,
    ):
        await subscriber.online()
        await behind.happen("one.png", "two.png")
        # Two rounds: by then the first was refused.
        for payload in b"{}", b"[]":
            behind.outbox.state("state", payload)
            await subscriber.hear("state", payload=payload)
        await behind.ledger.run(forget_the_first)
        behind.outbox.forget(lambda _model, _user: True)
        (tmp_path / "acl").write_text(f"user finetuned\ntopic readwrite {BASE}/#\n")
        broker.reload()
        assert await subscriber.hear_names(until="two.png") == ["two.png"]
