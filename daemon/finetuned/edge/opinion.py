"""A second opinion on a model: asking for it, and telling it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.edge import console
from finetuned.errors import ConfigurationError
from finetuned.service import plugins

if TYPE_CHECKING:
    from finetuned.service.opinions import Opinion, SecondOpinion


def asked(name: str) -> SecondOpinion:
    """Return whom to ask; ConfigurationError where no plugin brings that one."""
    found = {each.name: each for each in plugins.load().opinions()}
    if name not in found:
        raise ConfigurationError(
            f"--with-{name} needs {name}, which is not installed: pip install 'finetuned[author]' "
            "(there are no wheels of it for Linux on arm64)"
        )
    return found[name]


def show(name: str, opinion: Opinion) -> None:
    """Tell people what the other said, and what it did not look at."""
    word = ("agrees", "bold green") if opinion.agrees else ("does not agree", "bold red")
    console.say(f"{name} {opinion.version} ", word)
    for remark in opinion.remarks:
        console.say("  ", ("●", "red"), f" {remark}")
    for each in opinion.checked:
        console.say(f"  checked: {each}")
    for each in opinion.unchecked:
        console.say("  ", ("not checked:", "yellow"), f" {each}")
