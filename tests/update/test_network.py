from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import builders
import networks as n
import reference
from finetuned.errors import DivergenceError, ModelError, SampleError
from finetuned.spec import coreml_pb2 as pb
from finetuned.update.features import Encoded
from finetuned.update.network import Epoch, MiniBatch, NetworkUpdate
from finetuned.update.parameters import resolve, update_of
from update.trainings import CLASSES, HIDDEN, INPUTS, SAMPLES, blobs, reference_run, trained, update

if TYPE_CHECKING:
    from collections.abc import Callable


# ── against NumPy ───────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("optimizer", "momentum"), [("sgdOptimizer", 0.0), ("sgdOptimizer", 0.9), ("adamOptimizer", None)]
)
def test_a_whole_training_follows_the_float64_reference_as_closely_as_float32_can(
    optimizer: str, momentum: float | None
) -> None:
    data = builders.dense_classifier(
        inputs=INPUTS, hidden=HIDDEN, classes=CLASSES, activation="tanh", optimizer=optimizer
    )
    samples, adam = blobs(), momentum is None
    asked = {"learningRate": 0.05, "epochs": 10, "miniBatchSize": 8, "shuffle": False}
    chosen = update(data, **asked if adam else {**asked, "momentum": momentum})
    losses = [event.loss for event in trained(chosen, samples) if isinstance(event, MiniBatch)]
    options = {"adam": adam, "rate": 0.05, "momentum": momentum or 0.0}
    exact, exact_losses = reference_run(data, samples, np.float64, **options)
    rounded, _ = reference_run(data, samples, np.float32, **options)
    assert losses[0] > 2 * losses[-1], "the training moved something"
    np.testing.assert_allclose(losses, exact_losses, rtol=1e-4, atol=1e-5)
    for name, wanted in exact.weights.items():
        layer, key = name.split(".")
        found: Any = getattr(chosen.weights()[layer], {"weights": "weights", "biases": "bias"}[key])
        # What plain float32 loses on the same way, with room for another order of summation.
        tolerance = 10 * np.abs(rounded.weights[name] - wanted).max() + 1e-6
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance, err_msg=name)


def test_the_last_partial_mini_batch_counts_by_its_own_size() -> None:
    data = blobs(10)
    whole = update(miniBatchSize=8, shuffle=False, epochs=1, learningRate=0.5)
    first, last, epoch = trained(whole, data)
    assert isinstance(last, MiniBatch)
    by_hand = update(miniBatchSize=8, shuffle=False, epochs=1, learningRate=0.5)
    trained(by_hand, Encoded(features=data.features[:8], targets=data.targets[:8]))
    rest = Encoded(features=data.features[8:], targets=data.targets[8:])
    assert last.loss == pytest.approx(by_hand.measure(rest).loss, rel=1e-6)
    trained(by_hand, rest)
    assert whole.encode() == by_hand.encode()
    assert isinstance(epoch, Epoch)
    assert epoch.loss == pytest.approx((8 * first.loss + 2 * last.loss) / 10)
    assert epoch.last == last.loss


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    events = trained(update(miniBatchSize=1000, epochs=2), blobs(5))
    assert [type(event).__name__ for event in events] == ["MiniBatch", "Epoch"] * 2


# ── determinism ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_and_threads_give_the_same_bytes(threads: int) -> None:
    runs = [update(threads=threads, seed=4) for _ in range(2)]
    for run in runs:
        trained(run, blobs())
    assert runs[0].encode() == runs[1].encode()


def test_another_seed_gives_another_model_unless_nothing_is_shuffled() -> None:
    def after(seed: int, *, shuffle: bool) -> bytes:
        chosen = update(seed=seed, shuffle=shuffle)
        trained(chosen, blobs())
        return chosen.encode()

    assert after(1, shuffle=True) != after(2, shuffle=True)
    assert after(1, shuffle=False) == after(2, shuffle=False)


EFFECTS: dict[str, tuple[str, Any, Any]] = {
    "learningRate": ("sgdOptimizer", 0.1, 0.2),
    "momentum": ("sgdOptimizer", 0.0, 0.5),
    "miniBatchSize": ("sgdOptimizer", 4, 8),
    "epochs": ("sgdOptimizer", 2, 3),
    "shuffle": ("sgdOptimizer", True, False),
    "seed": ("sgdOptimizer", 1, 2),
    "beta1": ("adamOptimizer", 0.9, 0.8),
    "beta2": ("adamOptimizer", 0.999, 0.9),
    "eps": ("adamOptimizer", 1e-8, 1e-3),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_every_parameter_changes_the_outcome(name: str) -> None:
    optimizer, *values = EFFECTS[name]
    asked: list[dict[str, Any]] = [{"epochs": 2, name: value} for value in values]
    data = builders.dense_classifier(inputs=INPUTS, hidden=HIDDEN, classes=CLASSES, optimizer=optimizer)
    runs = [update(data, **each) for each in asked]
    for run in runs:
        trained(run, blobs())
    assert runs[0].parameters[name] == values[0]
    assert runs[0].encode() != runs[1].encode()


def test_every_epoch_sees_every_sample_once_in_an_order_of_its_own() -> None:
    """With a learning rate of zero the losses tell which samples are in a mini-batch."""
    chosen = update(learningRate=0, miniBatchSize=1, epochs=3)
    data = blobs(12)
    each = chosen.predict(data.features[:], data.targets[:])[1]
    events = trained(chosen, data)
    epochs = [[e.loss for e in events if isinstance(e, MiniBatch) and e.epoch == i] for i in range(3)]
    for losses in epochs:
        np.testing.assert_allclose(sorted(losses), sorted(each), rtol=1e-5)
    assert len({tuple(losses) for losses in epochs}) == 3


def test_the_seed_may_be_negative() -> None:
    trained(update(seed=-(2**63), epochs=1), blobs())


# ── the loop ────────────────────────────────────────────────────────────────────────────────────
def test_nothing_runs_before_the_next_mini_batch_is_asked_for() -> None:
    chosen = update(epochs=1)
    before = chosen.encode()
    steps = chosen.steps(blobs())
    assert chosen.encode() == before
    next(steps)
    after = chosen.encode()
    assert after != before
    steps.close()
    assert chosen.encode() == after


def test_a_new_learning_rate_holds_from_the_next_mini_batch() -> None:
    chosen = update(epochs=1, miniBatchSize=4)
    steps = chosen.steps(blobs())
    next(steps)
    chosen.learning_rate = 0.0
    before = chosen.encode()
    list(steps)
    assert chosen.encode() == before
    assert chosen.parameters["learningRate"] == 0.0


def test_frozen_layers_stay_as_they_are_to_the_bit() -> None:
    data = builders.dense_classifier(inputs=INPUTS, hidden=HIDDEN, classes=CLASSES, train_hidden=False)
    chosen = update(data)
    samples = blobs()
    features = chosen.features_of({"features": samples.features[:]})
    assert features.shape == (SAMPLES, HIDDEN)
    trained(chosen, Encoded(features=features, targets=samples.targets))
    before, after = (
        reference.stored(pb.Model.FromString(d).neuralNetworkClassifier.layers)
        for d in (data, chosen.encode())
    )
    assert np.array_equal(before["hidden.weights"], after["hidden.weights"])
    assert np.array_equal(before["hidden.biases"], after["hidden.biases"])
    assert not np.array_equal(before["output.weights"], after["output.weights"])


def test_training_makes_the_model_better_and_the_file_says_so() -> None:
    chosen = update(learningRate=0.5, epochs=20)
    data = blobs()
    before = chosen.measure(data)
    trained(chosen, data)
    after = chosen.measure(data)
    assert before.loss is not None
    assert after.loss is not None
    assert after.loss < before.loss / 2
    assert after.accuracy == 1.0
    again = update(chosen.encode())
    assert again.measure(data) == after


def test_weights_are_copies() -> None:
    chosen = update(epochs=1)
    before = chosen.weights()["output"].weights.copy()
    kept = chosen.weights()["output"].weights
    trained(chosen, blobs())
    assert np.array_equal(kept, before)


def test_no_sample_is_no_training_and_no_measure() -> None:
    chosen, nothing = update(), blobs(0)
    with pytest.raises(SampleError, match="no sample"):
        next(iter(chosen.steps(nothing)))
    with pytest.raises(SampleError, match="no sample"):
        chosen.measure(nothing)


# ── measures ────────────────────────────────────────────────────────────────────────────────────
def test_accuracy_and_loss_are_those_of_the_reference() -> None:
    data = builders.dense_classifier(inputs=INPUTS, hidden=HIDDEN, classes=CLASSES)
    samples = blobs(600)  # more than one part
    found = update(data).measure(samples)
    layers = pb.Model.FromString(data).neuralNetworkClassifier.layers
    p = reference.forward(layers, {"features": samples.features})["labelProbability"]
    assert found.samples == 600
    assert found.accuracy == pytest.approx((p.argmax(axis=1) == samples.targets).mean())
    assert found.loss == pytest.approx(reference.cross_entropy(p, samples.targets).mean(), rel=1e-5)
    assert found.error is None


def test_a_regressor_is_measured_by_its_mean_absolute_error() -> None:
    data = builders.dense_regressor(inputs=INPUTS, outputs=2)
    x, y = n.numbers(9, INPUTS), n.numbers(9, 2, seed=1)
    found = update(data).measure(Encoded(features=x, targets=y))
    layers = pb.Model.FromString(data).neuralNetwork.layers
    output = reference.forward(layers, {"features": x})["output"]
    assert found.error == pytest.approx(np.abs(output - y).mean(), rel=1e-5)
    assert found.loss == pytest.approx(((output - y) ** 2).mean(), rel=1e-5)
    assert found.accuracy is None


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("optimizer", ["sgdOptimizer", "adamOptimizer"])
def test_a_training_that_leaves_the_numbers_is_told_and_never_encoded(optimizer: str) -> None:
    message = n.trainable([n.dense(2, 3, updatable=True)], (3,), optimizer=optimizer, learningRate=1e38)
    model = n.decoded(message)
    chosen = NetworkUpdate(model, resolve(update_of(model), {"epochs": 50}, seed=0))
    data = Encoded(features=n.numbers(8, 3), targets=n.numbers(8, 2))
    with pytest.raises(DivergenceError, match="learningRate"):
        trained(chosen, data)
    if not np.isfinite(chosen.weights()["l0"].weights).all():
        with pytest.raises(DivergenceError, match="nothing is saved"):
            chosen.encode()


def test_the_step_after_the_last_loss_is_looked_at_too() -> None:
    message = n.trainable([n.dense(1, 1, updatable=True)], (1,), learningRate=3e38, epochs=1, miniBatchSize=8)
    model = n.decoded(message)
    chosen = NetworkUpdate(model, resolve(update_of(model), {}, seed=0))
    data = Encoded(features=np.ones((1, 1), np.float32), targets=np.full((1, 1), 9, np.float32))
    steps = chosen.steps(data)
    assert np.isfinite(next(steps).loss)
    with pytest.raises(DivergenceError, match="weight"):
        next(steps)


def merged(message: pb.Model) -> None:
    layers = message.neuralNetwork.layers
    layers[1].CopyFrom(n.add(alpha=1.0))
    layers[1].name, layers[1].input[:], layers[1].output[:] = "l1", ["l0"], ["l1"]


def no_optimizer(message: pb.Model) -> None:
    message.neuralNetwork.updateParams.ClearField("optimizer")


def not_marked(message: pb.Model) -> None:
    message.isUpdatable = False


@pytest.mark.parametrize("spoil", [merged, no_optimizer, not_marked])
def test_a_model_that_cannot_be_updated_is_refused_with_every_reason(
    spoil: Callable[[pb.Model], None],
) -> None:
    message = n.trainable(
        [n.dense(3, 3, updatable=True), n.activation("ReLU"), n.dense(2, 3, updatable=True), n.softmax()],
        (3,),
    )
    model = n.decoded(message)
    force = resolve(update_of(model), {}, seed=0)
    spoil(message)
    with pytest.raises(ModelError, match="the model cannot be updated"):
        NetworkUpdate(n.decoded(message), force)
