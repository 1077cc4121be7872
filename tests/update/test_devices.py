"""Where an update computes: the choice, moves between two steps, and devices that fail.

The second provider is `azure`, which is in the stock wheels and leaves every node to the CPU: so a move must not change a bit,
whatever else it does.  `test_second_provider.py` has one that computes by itself.
"""

from __future__ import annotations

import ctypes
import gc
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

from builders import dense_classifier
from finetuned.errors import FinetunedError, HostError
from finetuned.update.devices import choose, device_of, in_words, options_of
from finetuned.update.network import MiniBatch, NetworkUpdate
from finetuned.update.session import DeviceError, Session
from finetuned.update.sessions import Move
from update.trainings import CLASSES, HIDDEN, INPUTS, blobs, trained, update

if TYPE_CHECKING:
    from collections.abc import Callable

AZURE = "AzureExecutionProvider"
BOTH = ("azure", "cpu")
LACKING = "this onnxruntime has azure, cpu"


# ── the choice ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("wanted", "failed", "device", "why"),
    [
        (("cpu",), {}, "cpu", ""),
        ((), {}, "cpu", ""),
        (("azure", "cpu"), {}, "azure", ""),
        (("azure",), {"azure": "it failed"}, "cpu", "azure: it failed"),
        (("cpu", "azure"), {}, "cpu", ""),
        (("cuda", "azure", "cpu"), {}, "azure", f"cuda: {LACKING}"),
        (
            ("cuda", "openvino", "azure"),
            {"azure": "it failed"},
            "cpu",
            f"cuda: {LACKING}; openvino: {LACKING}; azure: it failed",
        ),
    ],
)
def test_the_first_device_that_is_there_and_has_not_failed_is_chosen_and_in_the_end_the_cpu(
    wanted: tuple[str, ...], failed: dict[str, str], device: str, why: str
) -> None:
    choice = choose(wanted, ("azure", "cpu"), failed)
    assert (choice.device, in_words(choice.passed)) == (device, why)


@pytest.mark.parametrize(
    ("provider", "device"),
    [
        ("CPUExecutionProvider", "cpu"),
        ("CUDAExecutionProvider", "cuda"),
        ("OpenVINOExecutionProvider", "openvino"),
    ],
)
def test_a_device_is_its_providers_name_in_a_word(provider: str, device: str) -> None:
    assert device_of(provider) == device


def test_providers_that_would_save_bits_or_take_every_core_are_told_not_to() -> None:
    assert options_of("cuda", threads=3) == {"use_tf32": "0"}
    assert options_of("openvino", threads=3) == {"precision": "FP32", "num_of_threads": "3"}
    assert options_of("azure", threads=3) == {}


# ── moves ───────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def undisturbed() -> bytes:
    """The bytes of a training on the CPU."""
    chosen = update(threads=2, epochs=4, miniBatchSize=5)
    trained(chosen, blobs())
    return chosen.encode()


def disturbed(chosen: NetworkUpdate, disturb: Callable[[int], object]) -> bytes:
    """Train, and disturb after every step."""
    for step, _ in enumerate(e for e in chosen.steps(blobs()) if isinstance(e, MiniBatch)):
        disturb(step)
    return chosen.encode()


def moving(devices: tuple[str, ...] = BOTH) -> NetworkUpdate:
    return update(threads=2, devices=devices, epochs=4, miniBatchSize=5)


def test_an_update_that_moves_between_two_steps_goes_on_with_its_weights_and_its_optimizer(
    undisturbed: bytes,
) -> None:
    chosen, seen = moving(), []

    def disturb(step: int) -> None:
        chosen.accelerate(accelerated=step % 3 == 1)
        seen.append(chosen.device)

    assert disturbed(chosen, disturb) == undisturbed
    assert seen[:4] == ["cpu", "azure", "cpu", "cpu"]
    assert chosen.news()[:3] == [Move(device=each) for each in ("cpu", "azure", "cpu")]
    assert chosen.news() == [], "it is told once"


def test_features_and_measures_follow_a_move() -> None:
    data = dense_classifier(inputs=INPUTS, hidden=HIDDEN, classes=CLASSES, train_hidden=False)
    here, there = update(data), update(data, devices=BOTH)
    samples = {"features": blobs().features[:]}
    for accelerated in (True, False, True):
        there.accelerate(accelerated=accelerated)
        np.testing.assert_array_equal(there.features_of(samples), here.features_of(samples))
    features = here.features_of(samples)
    for accelerated in (True, False):
        there.accelerate(accelerated=accelerated)
        for found, wanted in zip(
            there.predict(features, blobs().targets[:]),
            here.predict(features, blobs().targets[:]),
            strict=True,
        ):
            np.testing.assert_array_equal(found, wanted)


def test_what_is_asked_for_before_the_first_step_holds_for_it() -> None:
    chosen = moving()
    chosen.accelerate(accelerated=False)
    assert (chosen.device, chosen.news()) == ("cpu", [Move(device="cpu")])
    held = NetworkUpdate(chosen.model, chosen.parameters, devices=BOTH, accelerated=False)
    assert (held.device, held.news()) == ("cpu", [])
    held.accelerate(accelerated=True)
    assert (held.device, held.news()) == ("azure", [Move(device="azure")])


def test_a_move_leaves_no_session_behind_that_holds_the_devices_memory() -> None:
    others = sessions_with_azure()
    chosen = moving()
    steps = chosen.steps(blobs())
    next(steps)
    assert sessions_with_azure() == others + 2
    chosen.accelerate(accelerated=False)
    assert sessions_with_azure() == others


def sessions_with_azure() -> int:
    gc.collect()
    living = [each for each in gc.get_objects() if type(each) is ort.InferenceSession]
    return sum(AZURE in each.get_providers() for each in living)


# ── devices that fail ───────────────────────────────────────────────────────────────────────────
@pytest.fixture
def failing_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every third run fail where azure has a say; return the runs."""
    runs: list[int] = []

    def counted(run: Callable[..., Any]) -> Callable[..., Any]:
        def fail(self: ort.InferenceSession, *rest: Any) -> Any:  # noqa: ANN401 - onnxruntime has no types
            runs.append(len(runs))
            if AZURE in self.get_providers() and len(runs) % 3 == 0:
                raise RuntimeError("in a source file of its own\nout of its memory")
            return run(self, *rest)

        return fail

    for name in ("run", "run_with_iobinding"):
        monkeypatch.setattr(ort.InferenceSession, name, counted(getattr(ort.InferenceSession, name)))
    return runs


def test_a_step_that_fails_on_a_device_is_made_on_the_cpu_and_the_device_is_not_tried_again(
    failing_runs: list[int], undisturbed: bytes
) -> None:
    steps, chosen, seen = len(failing_runs), moving(), []
    failing_runs.clear()

    def disturb(_: int) -> None:
        seen.append((chosen.device, chosen.news()))
        chosen.accelerate(accelerated=True)

    assert disturbed(chosen, disturb) == undisturbed
    assert len(failing_runs) == steps + 1, "one step was made twice"
    why = "azure: it failed: out of its memory"
    assert seen[:4] == [("azure", []), ("azure", []), ("cpu", [Move(device="cpu", why=why)]), ("cpu", [])]
    assert {device for device, _ in seen[3:]} == {"cpu"}


def test_a_device_that_cannot_make_a_session_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, undisturbed: bytes
) -> None:
    opened = ort.InferenceSession

    def refuse(onnx: bytes, options: Any, providers: list[Any], **rest: Any) -> ort.InferenceSession:  # noqa: ANN401 - as above
        if providers[0][0] == AZURE:
            raise RuntimeError("no such card")
        return opened(onnx, options, providers=providers, **rest)

    monkeypatch.setattr(ort, "InferenceSession", refuse)
    chosen = moving(("cuda", "azure", "cpu"))
    why = f"cuda: {LACKING}; azure: it cannot run the compiled model: no such card"
    assert chosen.news() == [Move(device="cpu", why=why)]
    assert disturbed(chosen, lambda _: chosen.accelerate(accelerated=True)) == undisturbed
    assert chosen.news() == [], "it is told once"


def test_a_device_that_onnxruntime_silently_goes_on_without_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = ort.InferenceSession.get_providers
    monkeypatch.setattr(
        ort.InferenceSession, "get_providers", lambda self: [p for p in found(self) if p != AZURE]
    )
    chosen = moving()
    (news,) = chosen.news()
    assert (chosen.device, news.device) == ("cpu", "cpu")
    assert news.why.startswith("azure: onnxruntime cannot load it")


def test_onnxruntime_does_not_go_over_to_another_provider_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    made = ort.InferenceSession._create_inference_session  # noqa: SLF001 - where onnxruntime would do it

    def make(self: ort.InferenceSession, providers: list[Any], *rest: Any) -> None:  # noqa: ANN401 - as above
        asked.append(providers)
        made(self, providers, *rest)
        if len(asked) == 1:
            raise RuntimeError("the card is gone")

    program = update().training.step
    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", make)
    with pytest.raises(DeviceError, match="the card is gone"):
        Session(program, device="azure")
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["io_binding", "run_with_iobinding"])
def test_what_fails_on_the_cpu_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(ort.InferenceSession, name, fail)
    with pytest.raises(HostError, match="onnxruntime failed: broken"):
        trained(update(), blobs())


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (MemoryError("std::bad_alloc"), "host"),
        (RuntimeError("Exception during initialization: std::bad_alloc"), "host"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 1"), "host"),
        (RuntimeError("a node of no kind"), "model"),
    ],
)
def test_a_move_that_fails_says_whose_fault_it_is_and_what_is_asked_next_makes_up_for_it(
    monkeypatch: pytest.MonkeyPatch, undisturbed: bytes, error: Exception, fault: str
) -> None:
    chosen = moving()
    steps = chosen.steps(blobs())
    next(steps)

    def refuse(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ort, "InferenceSession", refuse)
        for ask in (lambda: chosen.accelerate(accelerated=False), lambda: chosen.measure(blobs())):
            with pytest.raises(FinetunedError) as raised:
                ask()
            assert raised.value.fault == fault
    assert [type(each).__name__ for each in steps][-1] == "Epoch"
    assert chosen.encode() == undisturbed
    assert chosen.news() == [Move(device="cpu")]


# ── devices with memory of their own ────────────────────────────────────────────────────────────
def copying(session: ort.InferenceSession) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Return a binding as onnxruntime makes it there: what goes in is copied when it is bound, and never again."""
    binding = ort.IOBinding(session)

    def bind_input(name: str, *where: Any) -> None:  # noqa: ANN401 - as above
        *_, dtype, shape, pointer = where
        there = np.frombuffer(ctypes.string_at(pointer, prod(shape) * dtype.itemsize), dtype)
        binding.bind_cpu_input(name, there.reshape(shape))

    binding.bind_input = bind_input
    return binding


def test_every_step_sees_the_weights_and_the_samples_of_its_moment_on_a_device_with_memory_of_its_own(
    monkeypatch: pytest.MonkeyPatch, undisturbed: bytes
) -> None:
    bindings = {AZURE: copying, "CPUExecutionProvider": ort.IOBinding}
    monkeypatch.setattr(
        ort.InferenceSession, "io_binding", lambda self: bindings[self.get_providers()[0]](self)
    )
    chosen = moving()
    assert disturbed(chosen, lambda _: None) == undisturbed
    assert chosen.device == "azure"
