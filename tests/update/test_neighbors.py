"""Updates of nearest neighbours, against the same in plain float64 NumPy, scikit-learn and other people's files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import networks as n
from finetuned.errors import CheckpointError, ModelError, ParameterError, SampleError
from finetuned.service.names import new_label
from finetuned.spec import check, codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.update import checkpoint
from finetuned.update.checkpoint import Position
from finetuned.update.events import ProgressEvent, ProgressHandlers
from finetuned.update.features import encoded
from finetuned.update.growth import Growth
from finetuned.update.parameters import ParameterKey
from finetuned.update.predictor import Predictor
from finetuned.update.task import UpdateTask
from finetuned.update.updating import updater
from more_models import DIMENSIONS, neighbors
from shared import oracle, shared

if TYPE_CHECKING:
    from numpy.typing import NDArray

RNG = np.random.default_rng(4)
POINTS = RNG.integers(-4, 5, size=(60, DIMENSIONS)).astype(np.float32)
NAMES = RNG.choice(["a", "b", "c", "d"], size=60).tolist()
QUERIES = np.concatenate([RNG.integers(-4, 5, size=(40, DIMENSIONS)).astype(np.float32), POINTS[:5]])


def empty(*, inverse: bool = False, tree: bool = False) -> bytes:
    message = neighbors(())
    knn = message.kNearestNeighborsClassifier
    if inverse:
        knn.inverseDistanceWeighting.SetInParent()
    if tree:
        knn.nearestNeighborsIndex.singleKdTreeIndex.leafSize = 3
    return message.SerializeToString(deterministic=True)


def learnt(data: bytes, x: Any, labels: Any, **options: Any) -> bytes:  # noqa: ANN401 - as a script has them
    update = updater(codec.decode(data), {}, seed=0, **options)
    assert list(update.steps(encoded(update, {update.inputs[0]: x, update.target: labels}))) == []
    found = update.encode()
    assert check.reasons(codec.decode(found)) == ()
    return found


def stored(data: bytes) -> tuple[Any, list[str | int]]:
    found = codec.decode(data).learner.neighbors
    assert found is not None
    return found.samples, list(found.labels)


def plain(
    points: NDArray[np.float32], names: list[str], query: NDArray[np.float32], k: int, *, inverse: bool
) -> tuple[str, dict[str, float]]:
    """Classify one sample in float64, sample by sample."""
    distances = ((points.astype(np.float64) - query.astype(np.float64)) ** 2).sum(axis=1)
    order = sorted(range(len(points)), key=lambda p: (distances[p], p))[:k]
    exact = any(distances[p] == 0 for p in order)
    votes: dict[str, float] = dict.fromkeys(dict.fromkeys(names), 0.0)
    for p in order:
        weight = 1.0 if not inverse else float(distances[p] == 0) if exact else 1 / distances[p]
        votes[names[p]] += weight
    best = max(votes.values())
    winner = next(names[p] for p in order if votes[names[p]] == best)
    return winner, {name: vote / sum(votes.values()) for name, vote in votes.items()}


@pytest.mark.parametrize(
    ("k", "inverse", "tree"), [(1, False, False), (3, False, True), (4, True, False), (1000, True, True)]
)
def test_answers_are_those_of_plain_numpy(k: int, *, inverse: bool, tree: bool) -> None:
    data = learnt(empty(inverse=inverse, tree=tree), POINTS, NAMES, growth=Growth(duplicates=True))
    found = Predictor(codec.decode(data), parameters={"numberOfNeighbors": k}).classify(
        {"embedding": QUERIES}
    )
    for query, (label, shares) in zip(QUERIES, found, strict=True):
        expected, parts = plain(POINTS, NAMES, query, k, inverse=inverse)
        assert label == expected
        assert shares == pytest.approx(parts, abs=1e-7)


@pytest.mark.parametrize("inverse", [False, True])
def test_shares_are_those_of_scikit_learn(*, inverse: bool) -> None:
    neighbors_of = oracle("sklearn.neighbors").KNeighborsClassifier
    points, queries = n.numbers(50, DIMENSIONS, seed=1), n.numbers(20, DIMENSIONS, seed=2)
    names = [NAMES[place] for place in range(50)]
    theirs = neighbors_of(
        n_neighbors=5, algorithm="brute", weights=(lambda d: 1 / d**2) if inverse else "uniform"
    )
    theirs.fit(points.astype(np.float64), names)
    model = codec.decode(learnt(empty(inverse=inverse), points, names))
    predictor = Predictor(model, parameters={ParameterKey.numberOfNeighbors: "5"})
    found = predictor.probabilities({"embedding": queries})
    order = [predictor.labels.index(label) for label in theirs.classes_]
    assert found[:, order] == pytest.approx(theirs.predict_proba(queries.astype(np.float64)), abs=1e-6)


def test_an_update_appends_and_says_nothing_else() -> None:
    data = neighbors().SerializeToString()
    before, labels = stored(data)
    found = learnt(data, POINTS[:2], ["new", "a"])
    assert (stored(found)[0] == np.concatenate([before, POINTS[:2]])).all()
    assert stored(found)[1] == [*labels, "new", "a"]


def test_the_same_sample_is_stored_once_unless_it_is_asked_for() -> None:
    x, labels = POINTS[[0, 1, 0, 0]], ["a", "b", "a", "b"]
    once = learnt(empty(), x, labels)
    assert stored(once)[1] == ["a", "b", "b"]
    assert learnt(once, x, labels) == once
    assert stored(learnt(once, x, labels, growth=Growth(duplicates=True)))[1] == ["a", "b", "b", *labels]


def test_a_full_model_lets_the_oldest_go() -> None:
    full = learnt(
        neighbors(("a", "b", "a")).SerializeToString(), POINTS[:3], ["a", "c", "a"], growth=Growth(most=4)
    )
    assert stored(full)[1] == ["a", "a", "c", "a"]
    balanced = Growth(most=4, policy="balanced")
    assert stored(
        learnt(neighbors(("a", "b", "a")).SerializeToString(), POINTS[:3], ["a", "c", "a"], growth=balanced)
    )[1] == ["b", "a", "c", "a"]


def test_a_model_without_a_sample_answers_its_default_label_and_nothing_speaks_for_it() -> None:
    predictor = Predictor(codec.decode(empty()))
    assert next(predictor.classify({"embedding": QUERIES[:1]})) == ("unknown", {"unknown": 0.0})
    update = updater(codec.decode(empty()), {}, seed=0)
    assert (
        update.measure(
            encoded(update, {"embedding": POINTS[:4], "label": ["a", "unknown", "b", "unknown"]})
        ).accuracy
        == 0.5
    )


def test_it_is_measured_by_the_number_of_neighbors_that_is_asked_for_and_the_file_keeps_its_own() -> None:
    data = learnt(empty(), POINTS, NAMES)
    for k in (1, 7):
        update = updater(codec.decode(data), {"numberOfNeighbors": k}, seed=0)
        measured = update.measure(encoded(update, {"embedding": QUERIES[:40], "label": NAMES[:40]}))
        said = [plain(*stored(data), query, k, inverse=False)[0] for query in QUERIES[:40]]  # type: ignore[arg-type]  # texts
        assert measured.accuracy == np.mean([a == b for a, b in zip(said, NAMES, strict=False)])
        assert measured.loss is None
        assert update.encode() == data


@pytest.mark.parametrize("asked", [{"numberOfNeighbors": 0}, {"numberOfNeighbors": 1001}, {"epochs": 3}])
def test_only_what_the_model_allows_can_be_asked_for(asked: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=r"allowed|no parameter 'epochs'; it has numberOfNeighbors"):
        updater(codec.decode(empty()), asked, seed=0)
    with pytest.raises(ParameterError):
        Predictor(codec.decode(empty()), parameters=asked)


@pytest.mark.parametrize(
    ("x", "labels", "words"),
    [
        (np.full((2, DIMENSIONS), np.inf), ["a", "b"], "'embedding' holds numbers that are infinite or NaN"),
        (POINTS[:2], ["a", 5], "sample 1 .*no text"),
        (POINTS[:2], ["a", "secret\n"], "sample 1 .*is no label; allowed: 1 to 120 bytes"),
        (POINTS[:2, :3], ["a", "b"], "shape"),
        (POINTS[:2], ["a"], "1 targets"),
        (POINTS[:0], [], "no sample to train on"),
    ],
)
def test_a_sample_that_cannot_be_stored_is_told_by_its_place(x: Any, labels: Any, words: str) -> None:  # noqa: ANN401 - anything
    with pytest.raises(SampleError, match=words) as raised:
        learnt(empty(), x, labels)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "label",
    [
        "rock", "größer", "a/b", " ", "\N{NO-BREAK SPACE}", "\N{IDEOGRAPHIC SPACE}", "👨\u200d👩\u200d👧", "می\u200cخواهم",
        "\u0378", "x" * 120, "x" * 121, "", "a\n", "\x1b[31m", "\x85", "\u2028", "\u2029", "\ud800", "a\u202eb", "\u2066",
    ],
)  # fmt: skip
def test_what_the_intake_takes_as_a_label_is_stored_and_nothing_else_is(label: str) -> None:
    taken = new_label(label, "string")
    if taken is None:
        with pytest.raises(SampleError, match=r"sample 0 .*is no label"):
            learnt(empty(), POINTS[:1], [label])
    else:
        assert stored(learnt(empty(), POINTS[:1], [taken]))[1] == [label]
    refused = ("", "a\n", "\x1b[31m", "\x85", "\u2028", "\u2029", "\ud800", "a\u202eb", "\u2066", "x" * 121)
    assert (taken is None) is (label in refused)


def test_a_label_that_a_file_holds_already_stays_whatever_it_is() -> None:
    data = neighbors(("x" * 200, "a\u202eb")).SerializeToString()
    found = learnt(data, POINTS[:2], ["x" * 200, "a\u202eb"], growth=Growth(duplicates=True))
    assert stored(found)[1] == ["x" * 200, "a\u202eb"] * 2


def numbered() -> bytes:
    message = neighbors(())
    knn = message.kNearestNeighborsClassifier
    knn.int64ClassLabels.SetInParent()
    knn.defaultInt64Label = -1
    for feature in (message.description.output[0], message.description.trainingInput[1]):
        feature.type.int64Type.SetInParent()
    message.description.output[1].type.dictionaryType.int64KeyType.SetInParent()
    return message.SerializeToString()


def test_labels_may_be_whole_numbers_and_come_as_text() -> None:
    data = learnt(numbered(), POINTS[:4], [7, "-3", np.int64(7), 1 << 62])
    assert stored(data)[1] == [7, -3, 7, 1 << 62]
    for wrong in ("seven", 1.5, True, 1 << 63, None):
        with pytest.raises(SampleError, match=r"sample 0 .*no whole number"):
            learnt(numbered(), POINTS[:1], [wrong])


def task(
    resume_from: bytes | None = None, most: int = 50, handlers: ProgressHandlers | None = None
) -> UpdateTask:
    return UpdateTask(
        empty(),
        {"embedding": POINTS, "label": NAMES},
        parameters={ParameterKey.numberOfNeighbors: 1},
        max_samples=most,
        when_full="balanced",
        resume_from=resume_from,
        handlers=handlers,
    )


def test_a_task_tells_of_its_beginning_and_its_end_alone_and_can_be_gone_on_from() -> None:
    heard: list[Any] = []
    first = task(handlers=ProgressHandlers(progress=heard.append, completion=heard.append))
    kept = first.checkpoint()
    first.resume()
    assert [(context.event, context.metrics) for context in heard] == [
        (ProgressEvent.trainingBegin, {}),
        (None, {}),
    ]
    assert len(stored(first.model.encode())[1]) == 50
    assert first.model.evaluate({"embedding": POINTS[:20], "label": NAMES[:20]}).samples == 20
    assert first.model.predict({"embedding": POINTS[:2]})["probabilities"].shape == (2, 4)
    again = task(resume_from=kept)
    again.resume()
    assert again.model.encode() == first.model.encode()
    with pytest.raises(CheckpointError):
        task(resume_from=kept, most=49)


def test_a_snapshot_is_the_beginning_whatever_was_stored_since() -> None:
    update = updater(codec.decode(empty()), {}, seed=0)
    data = encoded(update, {"embedding": POINTS, "label": NAMES})
    begun, before = update.snapshot(), update.encode()
    list(update.steps(data))
    identity = update.identity(data)
    update.restore(checkpoint.decode(checkpoint.encode(begun, identity), identity))
    assert update.encode() == before
    with pytest.raises(CheckpointError, match="no epoch 1"):
        update.steps(data, Position(epoch=1))


@pytest.mark.parametrize("name", ["postal", "arrival"])
def test_other_peoples_models_learn_are_saved_and_learn_again(name: str) -> None:
    data = shared(f"thirdparty_updatable/{name}_UpdatableKNN.mlmodel").read_bytes()
    model = codec.decode(data)
    found = model.learner.neighbors
    assert found is not None
    x = n.numbers(30, found.dimensions, seed=5).reshape(30, *model.description.inputs[0].type.shape)  # type: ignore[union-attr]  # an array
    labels: Any = (
        [f"{place % 3}" for place in range(30)] if found.kind == "string" else [p % 3 for p in range(30)]
    )
    once = learnt(learnt(data, x[:20], labels[:20]), x[20:], labels[20:])
    assert once == learnt(data, x, labels)
    answers = Predictor(codec.decode(once), parameters={"numberOfNeighbors": 1}).classify(
        {model.description.inputs[0].name: x}
    )
    assert [label for label, _ in answers] == labels


def test_a_model_that_is_not_updatable_still_answers() -> None:
    message = pb.Model.FromString(learnt(empty(), POINTS, NAMES))
    message.isUpdatable = False
    model = codec.decode(message.SerializeToString())
    assert len(list(Predictor(model).classify({"embedding": QUERIES}))) == len(QUERIES)
    with pytest.raises(ModelError, match="not marked as updatable"):
        updater(model, {}, seed=0)
