"""How the rooms are put together, where that is a choice."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from fakes import ScriptedExecutor
from finetuned.edge.config import parse
from finetuned.edge.house import chosen_executor
from finetuned.errors import ConfigurationError, PluginError
from finetuned.service.local import LocalExecutor


@dataclass
class Found:
    """Plugins that bring these executors."""

    brought: list[ScriptedExecutor] = field(default_factory=list)
    errors: list[PluginError] = field(default_factory=list)

    def executors(self) -> list[ScriptedExecutor]:
        """Return them."""
        return self.brought


def test_the_configuration_chooses_an_executor_by_its_name() -> None:
    workers, scripted = LocalExecutor(), ScriptedExecutor()
    found = Found(brought=[scripted])
    assert chosen_executor(parse(""), found, workers) is workers  # type: ignore[arg-type]  # all that is asked of it
    assert chosen_executor(parse('[worker]\nexecutor = "scripted"'), found, workers) is scripted  # type: ignore[arg-type]


def test_a_name_that_no_plugin_brings_is_refused_with_those_there_are_and_what_is_wrong_with_a_plugin() -> (
    None
):
    found = Found(errors=[PluginError("the plugin slurm is left out: its hook returned str, not a list")])
    with pytest.raises(
        ConfigurationError, match=r"'slurm' is not installed; there is local; the plugin slurm"
    ):
        chosen_executor(parse('[worker]\nexecutor = "slurm"'), found, LocalExecutor())  # type: ignore[arg-type]
