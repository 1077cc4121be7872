"""Some seconds of the fuzz, its seed fixed; `python -m fuzz` goes on for as long as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acceptance.house import digits
from fuzz.campaign import ALLOW, Campaign
from fuzz.craft import KINDS

if TYPE_CHECKING:
    from pathlib import Path

BATCHES = 13


async def test_whatever_is_asked_is_answered_once_and_the_daemon_lives(tmp_path: Path) -> None:
    async with digits(tmp_path, mqtt=ALLOW) as house:
        campaign = Campaign(house=house, node=await house.node(), seed=2026)
        await campaign.run(lambda: campaign.honest < BATCHES)
    assert campaign.wrong == []
    assert campaign.honest == BATCHES
    assert len(campaign.kinds) == len(set(KINDS)) + 1
