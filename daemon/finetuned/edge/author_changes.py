"""What a change did to a model, in sentences: two descriptions of it, compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.edge.wording import harmless
from finetuned.spec.names import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from finetuned.parameters import Parameter
    from finetuned.spec.model import Model, Network

_MANY = 8
_LONGEST = 200


def between(before: Model, after: Model) -> list[str]:
    """Return what differs: `learningRate: 0.01 (0 to 1) → 0.05 (0 to 1)`, `labels: 'z' added`."""
    old, new = dict(_facts(before)), dict(_facts(after))
    texts = [_text(name, old.get(name, ""), new.get(name, "")) for name in old | new]
    lists, listed = _lists(before), _lists(after)
    # Labels of a network that is a pipeline now are not removed one by one: it is another kind of model, which is told.
    names = listed if before.kind != after.kind else lists | listed
    texts += [_listed(name, lists.get(name, ()), listed.get(name, ())) for name in names]
    return [text for text in texts if text]


def _text(name: str, old: str, new: str) -> str:
    if old == new:
        return ""
    if not old or not new:
        return harmless(f"{name}: {new}" if new else f"{name}: none (was {old})", _LONGEST)
    return harmless(f"{name}: {old} → {new}", _LONGEST)


def _listed(name: str, old: Sequence[str], new: Sequence[str]) -> str:
    """Say what is in one list and not in the other; the same in another order is no change."""
    parts = [
        f"{_some(each)} {word}"
        for each, word in ((_beside(new, old), "added"), (_beside(old, new), "removed"))
        if each
    ]
    return f"{name}: {'; '.join(parts)}" if parts else ""


def _beside(names: Sequence[str], others: Sequence[str]) -> list[str]:
    known = set(others)
    return [name for name in names if name not in known]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(quoted(name) for name in names[:_MANY]) + more


# ── what a model is ─────────────────────────────────────────────────────────────────────────────
def _facts(model: Model) -> Iterator[tuple[str, str]]:
    yield "kind", model.kind
    yield "specification version", str(model.specification_version)
    yield "updatable", "yes" if model.updatable else "no"
    yield from ((f"metadata {key}", text) for key, text in model.description.metadata.items())
    for inner in (*_before(model), model.learner):
        if inner.network is not None:
            yield from _scales(inner.network)
    yield from _learnt(model.learner)


def _before(model: Model) -> Iterator[Model]:
    """Yield the frozen models of a pipeline."""
    for inner in model.models:
        yield from _before(inner)
        if inner.network is not None and inner is not model.learner:
            yield inner


def _scales(network: Network) -> Iterator[tuple[str, str]]:
    for step in network.preprocessing:
        yield f"pixels of {step.feature or 'images'} multiplied by", f"{step.scale:g}"


def _learnt(model: Model) -> Iterator[tuple[str, str]]:
    if (neighbors := model.neighbors) is not None:
        yield "samples", str(len(neighbors.labels))
        yield "dimensions", str(neighbors.dimensions)
        if neighbors.number_of_neighbors is not None:
            yield "numberOfNeighbors", _parameter(neighbors.number_of_neighbors)
        yield "weighting", neighbors.weighting
        leaves = f" with leaves of {neighbors.leaf_size}" if neighbors.leaf_size else ""
        yield "index", f"{neighbors.index}{leaves}"
        yield "default label", "" if neighbors.default_label is None else str(neighbors.default_label)
    if model.updatable and model.network is not None and model.network.update is not None:
        update = model.network.update
        yield "optimizer", update.optimizer
        yield "loss", ", ".join(f"{loss.kind} on {loss.input}" for loss in update.losses)
        yield from ((name, _parameter(row)) for name, row in update.parameters.items())


def _parameter(row: Parameter) -> str:
    default = str(row.default).lower() if isinstance(row.default, bool) else f"{row.default:g}"
    if row.allowed is not None:
        return f"{default} (of {', '.join(map(str, row.allowed[:_MANY]))}{', …' if len(row.allowed) > _MANY else ''})"
    if row.minimum is None or row.maximum is None:
        return default
    return f"{default} ({row.minimum:g} to {row.maximum:g})"


def _lists(model: Model) -> dict[str, tuple[str, ...]]:
    learner = model.learner
    found = {
        "models": tuple(model.names),
        "training inputs": tuple(feature.name for feature in model.description.training_inputs),
    }
    if learner.network is not None:
        trained = [layer.name for layer in learner.network.layers if layer.updatable and model.updatable]
        found |= {"trained layers": tuple(trained), "labels": tuple(map(str, learner.network.class_labels))}
    if learner.neighbors is not None:
        found["labels of samples"] = tuple(dict.fromkeys(map(str, learner.neighbors.labels)))
    return found
