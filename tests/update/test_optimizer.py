from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from finetuned.errors import ModelError
from finetuned.update import optimizer
from shared import oracle

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE, STEPS = 50, 200
ADAM = {"learningRate": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}

Trajectory = list[Any]
Rates = list[float]

CONSTANT = [0.05] * STEPS
CHANGED = [0.05] * 80 + [0.2] * 60 + [0.01] * 60


def problem() -> tuple[Any, Callable[[Any], Any]]:
    """Return a start, and the gradient of a bowl that is 1 to 30 times as steep along its axes."""
    rng = np.random.default_rng(0)
    steep, middle = np.geomspace(1, 30, SIZE), rng.normal(size=SIZE)
    return rng.normal(size=SIZE), lambda w: steep.astype(w.dtype) * (w - middle.astype(w.dtype)) / 30


def ours(kind: str, rates: Rates, **parameters: float) -> Any:  # noqa: ANN401 - an array
    start, gradient = problem()
    weights = start.astype(np.float32)
    chosen = optimizer.make(kind, SIZE, {"learningRate": rates[0], **parameters})
    for rate in rates:
        chosen.learning_rate = rate
        chosen.step(weights, gradient(weights))
    return weights


def momentum_reference(rates: Rates, momentum: float) -> Any:  # noqa: ANN401 - an array
    """MPSNNOptimizers.h, and COREML.md §3.2: the learning rate is inside of the velocity."""
    w, gradient = problem()
    m = np.zeros(SIZE)
    for rate in rates:
        m = momentum * m + rate * gradient(w)
        w = w - m
    return w


def adam_reference(rates: Rates, beta1: float, beta2: float, eps: float) -> Any:  # noqa: ANN401 - an array
    """MPSNNOptimizers.h, and COREML.md §3.2: eps is added to √v uncorrected."""
    w, gradient = problem()
    m, v = np.zeros(SIZE), np.zeros(SIZE)
    for t, rate in enumerate(rates, start=1):
        g = gradient(w)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        w = w - rate * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + eps)
    return w


@pytest.mark.parametrize("rates", [CONSTANT, CHANGED], ids=["constant", "changed"])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_follows_the_float64_reference(momentum: float, rates: Rates) -> None:
    found = ours("sgdOptimizer", rates, momentum=momentum)
    np.testing.assert_allclose(found, momentum_reference(rates, momentum), rtol=1e-5, atol=2e-6)


def test_a_changed_learning_rate_acts_on_new_gradients_only() -> None:
    """The velocity keeps what earlier rates put into it: PyTorch's form would scale that, too."""
    weights, gradient = np.zeros(1, np.float32), np.ones(1, np.float32)
    chosen = optimizer.make("sgdOptimizer", 1, {"learningRate": 1.0, "momentum": 0.5})
    chosen.step(weights, gradient.copy())
    chosen.learning_rate = 0.0
    chosen.step(weights, gradient.copy())
    assert weights.tolist() == [-1.5]


@pytest.mark.parametrize("rates", [CONSTANT, CHANGED], ids=["constant", "changed"])
@pytest.mark.parametrize(("beta1", "beta2", "eps"), [(0.9, 0.999, 1e-8), (0.5, 0.9, 1e-2), (0.0, 0.0, 1e-3)])
def test_adam_follows_the_float64_reference(beta1: float, beta2: float, eps: float, rates: Rates) -> None:
    found = ours("adamOptimizer", rates, beta1=beta1, beta2=beta2, eps=eps)
    np.testing.assert_allclose(found, adam_reference(rates, beta1, beta2, eps), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_agrees_with_pytorch_while_the_learning_rate_is_constant(momentum: float) -> None:
    torch = oracle("torch")
    found = ours("sgdOptimizer", CONSTANT, momentum=momentum)
    wanted = pytorch(torch, lambda w: torch.optim.SGD([w], lr=CONSTANT[0], momentum=momentum))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-6)


def test_adam_agrees_with_pytorch_where_eps_is_small() -> None:
    torch = oracle("torch")
    found = ours("adamOptimizer", CONSTANT, beta1=0.9, beta2=0.999, eps=1e-8)
    wanted = pytorch(torch, lambda w: torch.optim.Adam([w], lr=CONSTANT[0], eps=1e-8))
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


def pytorch(torch: Any, make: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - PyTorch has no types here
    start, gradient = problem()
    w = torch.tensor(start)
    chosen = make(w)
    for _ in range(STEPS):
        w.grad = torch.tensor(gradient(w.detach().numpy()))
        chosen.step()
    return w.numpy()


def test_a_weight_without_gradient_stays_where_it_is_at_the_smallest_eps() -> None:
    weights = np.ones(3, np.float32)
    chosen = optimizer.make("adamOptimizer", 3, ADAM | {"eps": 2.0**-126})
    for _ in range(3):
        chosen.step(weights, np.zeros(3, np.float32))
    assert weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", ["sgdOptimizer", "adamOptimizer"])
def test_a_step_beyond_float32_is_found_in_the_weights_and_warns_nobody(kind: str) -> None:
    weights = np.full(4, 3e38, np.float32)
    chosen = optimizer.make(kind, 4, ADAM | {"learningRate": 3e38, "momentum": 0.9})
    for _ in range(3):
        chosen.step(weights, np.full(4, -1e5, np.float32))
    assert not np.isfinite(weights).any()


@pytest.mark.parametrize(
    ("kind", "momentum"), [("sgdOptimizer", 0.0), ("sgdOptimizer", 0.9), ("adamOptimizer", 0.0)]
)
def test_weights_and_state_are_all_that_the_next_step_depends_on(kind: str, momentum: float) -> None:
    rng = np.random.default_rng(0)
    parameters = ADAM | {"momentum": momentum}
    weights = rng.normal(size=5).astype(np.float32)
    first, second = (optimizer.make(kind, 5, parameters) for _ in range(2))
    for _ in range(3):
        first.step(weights, rng.normal(size=5).astype(np.float32))
    copy, gradient = weights.copy(), rng.normal(size=5).astype(np.float32)
    for name, array in first.state().items():
        second.state()[name][...] = array
    first.step(weights, gradient.copy())
    second.step(copy, gradient.copy())
    assert weights.tobytes() == copy.tobytes()


def test_an_unknown_optimizer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match="sgdOptimizer and adamOptimizer"):
        optimizer.make("rmsprop", 1, {"learningRate": 0.1})


def test_adam_goes_over_blocks_and_ends_in_the_same_bits() -> None:
    """Block by block, as one array, and one number at a time: each is a chain of operations of its own."""
    size = 2 * optimizer.BLOCK + 3
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=size), rng.normal(size=(3, size)).astype(np.float32)
    whole = start.astype(np.float32)
    middle = slice(optimizer.BLOCK - 2, optimizer.BLOCK + 2)  # over the border of two blocks
    part = whole[middle].copy()
    long, short = (optimizer.make("adamOptimizer", length, ADAM) for length in (size, part.size))
    for gradient in gradients:
        long.step(whole, gradient.copy())
        short.step(part, gradient[middle].copy())
    assert whole[middle].tobytes() == part.tobytes()
    assert (whole != start.astype(np.float32)).all()
