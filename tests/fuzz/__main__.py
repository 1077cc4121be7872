"""`python -m fuzz`: fuzzed requests to a real daemon for a while (docs/broker.md); ends with 1 if anything was wrong."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom

from acceptance.house import digits
from fuzz.campaign import ALLOW, Campaign


async def main(seconds: float, seed: int) -> int:
    """Run a campaign; say every minute how it goes."""
    with tempfile.TemporaryDirectory(prefix="finetuned-fuzz-") as folder:
        async with digits(Path(folder), mqtt=ALLOW) as house:
            campaign = Campaign(house=house, node=await house.node(), seed=seed)
            until, said = time.monotonic() + seconds, time.monotonic()

            def more() -> bool:
                nonlocal said
                if time.monotonic() > said + 60:
                    said += 60
                    sys.stdout.write(f"{_figures(campaign)}\n")
                    sys.stdout.flush()
                return time.monotonic() < until

            await campaign.run(more)
    sys.stdout.write("".join(f"{each}\n" for each in (f"seed {seed}", _figures(campaign), *campaign.wrong)))
    return 1 if campaign.wrong else 0


def _figures(campaign: Campaign) -> str:
    memory = campaign.memory_mb
    return (
        f"{campaign.kinds.total()} messages {dict(campaign.kinds)}; answers {dict(campaign.answers)}; "
        f"honest {campaign.honest}; memory {memory[0]:.1f} to {memory[-1]:.1f} MB (most {max(memory):.1f})"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    sys.exit(asyncio.run(main(asked.seconds, asked.seed)))
