"""The second opinion, and the way from PyTorch: both with coremltools itself."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from contextlib import chdir
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from builders import dense_classifier
from finetuned import HostError, ModelError, Opinion, Predictor, decode
from finetuned.edge.cli import app
from finetuned.service import plugins
from finetuned.service.describe import describe
from finetuned_plugins import coremltools as plugin
from finetuned_plugins.conversion import trainable
from finetuned_plugins.coremltools import Coremltools
from finetuned_plugins.coremltools_builder import objections, saved
from finetuned_plugins.coremltools_view import differences
from shared import oracle, shared
from test_docs import blocks, module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Where executorch or an untried PyTorch is installed, coremltools imports them, and they warn.
pytestmark = pytest.mark.filterwarnings("ignore")

MODELS = (
    "apple_updatable_drawing/UpdatableDrawingClassifier.mlmodel",
    "apple_updatable_drawing/TinyDrawingEmbedding.mlmodel",
    "updatable_built/HandskNN_MobileNetV1_025_updatable.mlmodel",
    "updatable_built/Hands_MobileNetV2_int8_updatable.mlmodel",
    "updatable_built/LeNet_MNIST_allconv_adam_updatable.mlmodel",
    "thirdparty_updatable/arrival_UpdatableKNN.mlmodel",
    "thirdparty_updatable/postal_UpdatableKNN.mlmodel",
    "thirdparty_updatable/denissimon_s4tf_updatable_model.mlmodel",
    "mlupdatetask_line/untrained.mlmodel",
)
LENET = MODELS[4]


@pytest.fixture(scope="module")
def parsed() -> Callable[[bytes], Any]:
    """Return what makes coremltools' message of a file's bytes."""
    read: Callable[[bytes], Any] = oracle("coremltools.proto.Model_pb2").Model.FromString
    return read


# ── the opinion ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", MODELS)
def test_coremltools_agrees_on_models_that_others_made(parsed: Callable[[bytes], Any], name: str) -> None:
    data = shared(name).read_bytes()
    model, spec = decode(data), parsed(data)
    assert [*differences(model, spec), *objections(spec), *saved(model, spec)] == []


def no_loss(spec: Any) -> None:  # noqa: ANN401 - coremltools' message
    del spec.neuralNetworkClassifier.updateParams.lossLayers[:]


def another_label(spec: Any) -> None:  # noqa: ANN401 - as above
    spec.neuralNetworkClassifier.stringClassLabels.vector[0] = "zero"


def softmax_of_ios_13(spec: Any) -> None:  # noqa: ANN401 - as above
    spec.neuralNetworkClassifier.layers[-1].softmaxND.axis = -1


def half_precision(spec: Any) -> None:  # noqa: ANN401 - as above
    spec.neuralNetworkClassifier.layers[0].convolution.weights.float16Value = b"00"


def no_target(spec: Any) -> None:  # noqa: ANN401 - as above
    del spec.description.trainingInput[:]


def from_the_future(spec: Any) -> None:  # noqa: ANN401 - as above
    spec.specificationVersion = 99


@pytest.mark.parametrize(
    ("change", "read", "refused"),
    [
        (no_loss, "losses: finetuned reads 1 of them, coremltools 0 of them", "has no loss"),
        (another_label, "labels: finetuned reads '0', coremltools 'zero'", ""),
        (softmax_of_ios_13, "layers: finetuned reads", "must be a softmax layer output"),
        (half_precision, "", "FP16 weights"),
        (
            no_target,
            "training inputs: finetuned reads 2 of them, coremltools 0",
            "would have asked for the loss's target",
        ),
        (
            from_the_future,
            "specification version: finetuned reads",
            "99 is newer than coremltools', which is",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_differs_and_what_coremltools_would_refuse_is_said(
    parsed: Callable[[bytes], Any], change: Callable[[Any], None], read: str, refused: str
) -> None:
    data = shared(LENET).read_bytes()
    spec = parsed(data)
    change(spec)
    for wanted, said in ((read, differences(decode(data), spec)), (refused, objections(spec))):
        told = list(said)
        assert any(wanted in each for each in told) if wanted else told == []


def test_a_difference_inside_of_a_pipeline_names_the_model(parsed: Callable[[bytes], Any]) -> None:
    data = shared(MODELS[0]).read_bytes()
    spec = parsed(data)
    spec.pipelineClassifier.pipeline.models[1].kNearestNeighborsClassifier.numberOfNeighbors.defaultValue = 4
    (said,) = differences(decode(data), spec)
    assert said.startswith("in 'model1': number_of_neighbors of the nearest neighbours: finetuned reads")


# ── the command ─────────────────────────────────────────────────────────────────────────────────
def typed(*words: object) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, ["check", *map(str, words), "--with-coremltools", "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_the_command_tells_version_verdict_and_what_nobody_looked_at() -> None:
    oracle("coremltools")
    status, said = typed(shared("mlupdatetask_line/untrained.mlmodel"))
    opinion = said["coremltools"]
    assert (status, said["updatable"], opinion["agrees"], opinion["remarks"]) == (0, True, True, [])
    assert opinion["version"].startswith("9.")
    assert "Core ML's validator" in opinion["unchecked"][0]


def test_a_yes_that_coremltools_does_not_share_is_a_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle("coremltools")
    opinion = Opinion(version="9.0", agrees=False, remarks=("I would not",), checked=(), unchecked=("all",))
    monkeypatch.setattr(Coremltools, "judge", lambda *_: opinion)
    path = tmp_path / "model.mlmodel"
    path.write_bytes(dense_classifier())
    status, said = typed(path)
    assert (status, said["updatable"], said["coremltools"]["remarks"]) == (1, True, ["I would not"])
    shown = CliRunner().invoke(app, ["check", str(path), "--with-coremltools"]).stderr
    assert "does not agree" in shown
    assert "not checked: all" in shown


@pytest.mark.parametrize("data", [b"", b"\xff" * 64, b"\x0a" + b"\xff" * 9, b"x" * 1000])
def test_what_finetuned_does_not_read_is_never_shown_to_coremltools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    oracle("coremltools")
    monkeypatch.setattr(Coremltools, "judge", lambda *_: pytest.fail("it was shown"))
    path = tmp_path / "model.mlmodel"
    path.write_bytes(data)
    status, said = typed(path)
    assert (status, said["fault"]) == (1, "model")


def test_without_coremltools_the_option_is_wrong_usage_and_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "find_spec", lambda _: None)
    path = tmp_path / "model.mlmodel"
    path.write_bytes(dense_classifier())
    status, said = typed(path)
    assert status == 2
    assert "pip install 'finetuned[author]'" in said["error"]


def test_without_the_option_nothing_of_coremltools_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "model.mlmodel"
    path.write_bytes(dense_classifier())
    script = (
        "import sys, atexit; from finetuned.edge.cli import app; "
        "atexit.register(lambda: print(*sys.modules)); app(['check', sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert "numpy" in done.stdout.split()
    assert [name for name in done.stdout.split() if "coremltools" in name] == []


def test_a_process_that_dies_or_never_answers_is_the_hosts_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "MODULE", "no_such_module_of_ours")
    with pytest.raises(HostError, match=r"status 1 .*no_such_module_of_ours"):
        Coremltools().judge(b"")
    monkeypatch.undo()
    with pytest.raises(HostError, match=r"has not answered within 0\.001 s"):
        Coremltools(deadline_s=0.001).judge(b"")


def test_who_gives_an_opinion_has_a_name_and_a_judgement() -> None:
    assert plugins.opinion_faults(Coremltools()) == ""
    assert "judge(data)" in plugins.opinion_faults(object())


# ── from PyTorch ────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the page's model, made by its own code, and a few photographs of each label."""
    oracle("coremltools")
    oracle("torch")
    folder = tmp_path_factory.mktemp("converted")
    (code,) = blocks("docs/coremltools.md", "convert")
    with chdir(folder):
        module("page_of_coremltools", code, folder)  # in this process: another would import all of it again
    random = np.random.default_rng(0)
    for shade, label in enumerate(("paper", "rock", "scissors")):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(60 * shade, 60 * shade + 120, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{number}.png")
    return folder


def test_the_pages_model_computes_what_pytorch_computes(converted: Path) -> None:
    torch = oracle("torch")
    images = np.random.default_rng(1).integers(0, 256, (16, 3, 32, 32)).astype(np.uint8)
    (found,) = (
        Predictor(decode((converted / "hands.mlmodel").read_bytes())).outputs({"image": images}).values()
    )
    network = torch.load(converted / "hands.pt", weights_only=False)
    with torch.no_grad():
        wanted = network(torch.from_numpy(images) / 255 - 0.5).numpy()
    np.testing.assert_allclose(found.reshape(16, 3), wanted, rtol=1e-5)


def test_the_pages_commands_make_models_that_learn(converted: Path) -> None:
    (commands,) = blocks("docs/coremltools.md", "author")
    for line in commands.splitlines():
        words = shlex.split(line)
        assert words.pop(0) == "finetuned"
        done = subprocess.run(
            [sys.executable, "-P", "-m", "finetuned", *words],
            cwd=converted,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
    labels = {"paper", "rock", "scissors"}
    for name in ("mine", "mine-too"):
        model = decode((converted / f"{name}.mlmodel").read_bytes())
        assert set(describe(model).class_labels or describe(model.models[-1]).class_labels) == labels


def chain(*kinds: str, row: bool = False) -> Any:  # noqa: ANN401 - coremltools' message
    """Return a chain of empty layers of these kinds, behind an input that is an array of [1, 6] or an image."""
    spec = oracle("coremltools.proto.Model_pb2").Model(specificationVersion=4)
    blob = spec.description.input.add(name="x")
    if row:
        blob.type.multiArrayType.shape.extend([1, 6])
    spec.neuralNetwork.arrayInputShapeMapping = 1
    for number, kind in enumerate(kinds):
        layer = spec.neuralNetwork.layers.add(name=f"{kind}{number}", output=[str(number)])
        layer.input.append(str(number - 1) if number else "x")
        getattr(layer, kind).SetInParent()
        if kind == "softmaxND":
            layer.softmaxND.axis = -1
    return spec


def test_a_row_becomes_channels_and_the_layers_of_ios_13_older_ones() -> None:
    model = decode(trainable(chain("unary", "softmaxND", row=True)))
    assert model.network is not None
    assert [layer.type for layer in model.network.layers] == ["unary", "softmax"]
    assert not model.network.exact_shapes
    (feature,) = describe(model).inputs
    assert feature.shape == (6,)


@pytest.mark.parametrize(
    ("kinds", "complaint"),
    [
        (("expandDims",), r"'expandDims0' \(expandDims\) takes numbers that were flattened"),
        (("innerProduct", "concatND"), "'concatND1'"),
    ],
)
def test_what_no_older_layer_does_with_flattened_numbers_is_named(
    kinds: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(ModelError, match=complaint):
        trainable(chain(*kinds, row=True))


def test_only_a_row_is_a_flattening_and_only_a_network_is_rewritten() -> None:
    spec = chain("reshapeStatic")
    spec.neuralNetwork.layers[0].reshapeStatic.targetShape.extend([1, 2, 3])
    with pytest.raises(ModelError, match=r"reshapes to \[1, 2, 3\]"):
        trainable(spec)
    spec.mlProgram.SetInParent()
    with pytest.raises(ModelError, match="mlProgram has no layers to train"):
        trainable(spec)


def test_a_global_pool_has_no_kernel_whatever_the_converter_writes() -> None:
    spec = chain("pooling")
    spec.neuralNetwork.layers[0].pooling.globalPooling = True
    spec.neuralNetwork.layers[0].pooling.kernelSize.extend([0, 0])
    (layer,) = decode(trainable(spec)).network.layers  # type: ignore[union-attr]  # it is a network
    assert getattr(layer.parameters, "global_pooling", False)
