"""What the configuration says about each model's tasks, as the policies take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.policy.trigger import Rule

if TYPE_CHECKING:
    from finetuned.edge.config import Config


def rule_of(config: Config, model: str) -> Rule:
    """Return when a task of this model starts by itself: its own trigger, or `[trigger]` where it has none."""
    entry = config.models.get(model)
    trigger = entry.trigger if entry else config.trigger
    return Rule(
        min_new_samples=trigger.min_new_samples,
        quiet_s=trigger.quiet_s,
        max_wait_s=trigger.max_wait_s,
        min_per_label=trigger.min_per_label,
    )
