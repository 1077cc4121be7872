"""What the configuration says about each model and its tasks, as the services and the policies take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.policy.trigger import Rule
from finetuned.service.messages import Growth
from finetuned.service.models import Entry

if TYPE_CHECKING:
    from finetuned.edge.config import Config


def entries_of(config: Config) -> dict[str, Entry]:
    """Return what each model of the configuration takes, and by which rules it is judged."""
    return {
        name: Entry(
            labels=entry.labels,
            fit=entry.fit,
            beyond_coreml=entry.beyond_coreml,
            pixel_scale=entry.pixel_scale,
        )
        for name, entry in config.models.items()
    }


def growth_of(config: Config) -> dict[str, Growth]:
    """Return how each model of the configuration grows, where it holds its samples."""
    return {
        name: Growth(most=entry.max_samples, when_full=entry.when_full, duplicates=entry.duplicates)
        for name, entry in config.models.items()
    }


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
