"""How Home Assistant reads our states and writes our requests: Jinja, as its own engine renders it.

States may lack keys, hold nulls, or be cleared (an empty payload, and then no `value_json`): `None` makes an entity
`unknown`, and "" leaves a number as it was.  No name from outside stands in a template: there it would be obeyed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_STATE = 250
"""Home Assistant takes up to 255 characters."""
TRANSACTION = "'ha-' ~ now().timestamp() ~ '-' ~ (range(10000, 99999) | random)"


# ── states ──────────────────────────────────────────────────────────────────────────────────────
def value(expression: str, *, cleared: str = "None") -> str:
    """Show an expression of the state; `cleared` where there is no state any more."""
    return f"{{{{ ({expression}) if value_json is defined else {cleared} }}}}"


def key(name: str) -> str:
    """Show one key of the state."""
    return value(f"value_json.get('{name}')")


def number(path: str, *, factor: int = 1, digits: int = 4, otherwise: str = "None") -> str:
    """Show a number, by the way to it (`metrics.accuracy`); `otherwise` where it is null or not there."""
    *outer, last = path.split(".")
    found = "value_json"
    for each in outer:
        found = f"({found}.get('{each}') or {{}})"
    reading = f"{{% set found = {found}.get('{last}') %}}"
    shown = f"{{{{ (found * {factor}) | round({digits}) if found is number else {otherwise} }}}}"
    return f"{{% if value_json is defined %}}{reading}{shown}{{% else %}}None{{% endif %}}"


def total(name: str) -> str:
    """Show the sum of numbers by name, or the number that stands in their place."""
    found = f"(value_json.get('{name}') or {{}})"
    return value(f"{found} if {found} is number else {found}.values() | sum")


def word(name: str, words: Mapping[str, str]) -> str:
    """Show the word for one key's value."""
    return value(f"{_literal(words)}.get(value_json.get('{name}'))")


def listed(name: str, words: Mapping[str, str], nothing: str) -> str:
    """Show the words for a list, or `nothing`."""
    each = f"{_literal(words)}.get(each, each)"
    loop = f"{{% for each in found %}}{{{{ {each} }}}}{{{{ '' if loop.last else ', ' }}}}{{% endfor %}}"
    said = f"{{% set found = value_json.get('{name}') or [] %}}{{% set said %}}{loop}{{% endset %}}"
    shown = f"{{{{ (said or {_literal(nothing)}) | truncate({LONGEST_STATE}, true, '…', 0) }}}}"
    return f"{{% if value_json is defined %}}{said}{shown}{{% else %}}None{{% endif %}}"


def attributes(*names: str) -> str:
    """Show keys of the state as an entity's attributes."""
    pairs = ", ".join(f"'{name}': value_json.get('{name}')" for name in names)
    return f"{{{{ ({{{pairs}}} if value_json is defined else {{}}) | to_json }}}}"


def candidate(words: Mapping[str, str]) -> str:
    """Show what an update entity knows: the version in use with how good it is, and the newer one."""
    current = "(value_json.get('current') or 0)"
    good = (
        f"{{% set summary %}}{_how_good('candidateMetrics', words['candidate'], words)}"
        f"{_how_good('metrics', words['in use'], words)}{{% endset %}}"
    )
    parts = (
        f"'installed_version': {current} | string, 'release_summary': summary | string | trim, "
        f"'latest_version': (value_json.get('candidate') or {current}) | string"
    )
    return f"{{% if value_json is defined %}}{good}{{{{ {{{parts}}} | to_json }}}}{{% endif %}}"


def _how_good(metrics: str, which: str, words: Mapping[str, str]) -> str:
    """Say how good a version is, where that was measured."""
    return (
        f"{{% set m = value_json.get('{metrics}') or {{}} %}}"
        f"{{% if m.get('accuracy') is number %}}{which}: {words['accuracy']} "
        "{{ (m.accuracy * 100) | round(1) }} %. "
        f"{{% elif m.get('meanAbsoluteError') is number %}}{which}: {words['error']} "
        "{{ m.meanAbsoluteError | round(4) }}. {% endif %}"
    )


OUTCOME = (
    "{% if value_json is defined and value_json.get('id') and value_json.id != this.attributes.get('id') %}"
    "{{ dict(value_json, event_type=value_json.get('type')) | to_json }}{% endif %}"
)
"""Outcomes alone have an `id`; the one that came last is the only one that can come again."""


def available(expression: str) -> str:
    """Say `online` where it is so, else `offline`."""
    return value(f"'online' if {expression} else 'offline'", cleared="'offline'")


# ── requests ────────────────────────────────────────────────────────────────────────────────────
REQUEST = f"{{{{ dict(value | from_json, transaction={TRANSACTION}) | to_json }}}}"
"""What is pressed is the request's body, which gets a transaction of its own each time."""
OF_TASK = f"{{{{ dict(task=this.attributes.get('task') or '', transaction={TRANSACTION}) | to_json }}}}"
"""The living task's id is an attribute of the button."""


def choice(name: str, words: Mapping[str, str]) -> str:
    """Write a request with the value whose word was chosen."""
    chosen = f"{_literal({shown: own for own, shown in words.items()})}.get(value)"
    return f"{{{{ dict({name}={chosen}, transaction={TRANSACTION}) | to_json }}}}"


def _literal(value: object) -> str:
    """Return JSON, which Jinja reads as well."""
    return json.dumps(value, ensure_ascii=False)
