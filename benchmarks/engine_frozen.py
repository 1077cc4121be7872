"""The frozen part, run by finetuned, by a plain onnxruntime session on an ordinary graph of it, and by PyTorch.

A "step" is one batch of pictures; nothing is learned, and instead of losses the features are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import engine_plain as plain
import numpy as np
from engine_contenders import SHOWN
from engine_models import MOBILENET, SEED, Setting, shared_model

from finetuned.spec import codec
from finetuned.spec.model import Convolution, ImageType, Layer, Model
from finetuned.update.network import NetworkUpdate
from finetuned.update.parameters import resolve, update_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_models import Array


class Frozen:
    """Anything that makes features out of pictures, uint8 [N, 3, H, W]."""

    variant = ""

    def __init__(self, setting: Setting, model: Model, features: Callable[[Array], Any]) -> None:
        kind = model.description.inputs[0].type
        assert isinstance(kind, ImageType)  # noqa: S101 - one model is meant
        shape = (setting.batch, *kind.shape)
        self._pictures = np.random.default_rng(SEED).integers(0, 256, shape).astype(np.uint8)
        self._features = features

    def prepare(self) -> None:
        """There is nothing to be found out."""

    def reset(self) -> None:
        """Nothing changes."""

    def run(self, steps: int) -> list[float]:
        """Make the features so many times."""
        for _ in range(steps):
            self._features(self._pictures)
        return []

    def show(self) -> list[float]:
        """Return some of the first picture's features, and one: none is zero then."""
        first = np.asarray(self._features(self._pictures)).reshape(len(self._pictures), -1)[0]
        return [float(1 + value) for value in first[np.linspace(0, first.size - 1, SHOWN).astype(int)]]


def finetuned(setting: Setting) -> Frozen:
    """Return the frozen part as an update runs it."""
    model = shared_model(MOBILENET)
    update = NetworkUpdate(model, resolve(update_of(model), {}, seed=SEED), threads=setting.threads)
    name = model.description.inputs[0].name
    return Frozen(setting, model, lambda pictures: update.features_of({name: pictures}))


def _raw(setting: Setting, *, spins: bool) -> Frozen:
    import onnxruntime as ort  # noqa: PLC0415 - in this contender's process only

    model = shared_model(MOBILENET)
    layers, blob = frozen(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = setting.threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    session = ort.InferenceSession(
        plain.features_model(model, layers, blob), options, providers=["CPUExecutionProvider"]
    )
    return Frozen(setting, model, lambda pictures: session.run(None, {"picture": pictures})[0])


def raw(setting: Setting) -> Frozen:
    """Return onnxruntime with nothing set but its threads, which sleep when there is nothing to do."""
    return _raw(setting, spins=False)


def spinning(setting: Setting) -> Frozen:
    """Return onnxruntime with nothing set but its threads, which spin as is its default."""
    return _raw(setting, spins=True)


# ── PyTorch ─────────────────────────────────────────────────────────────────────────────────────
def eager(setting: Setting) -> Frozen:
    """Return PyTorch in inference mode."""
    return _torch(setting, last=False)


def best(setting: Setting) -> Frozen:
    """Return PyTorch in inference mode, channels last."""
    made = _torch(setting, last=True)
    made.variant = "channels_last"
    return made


def _torch(setting: Setting, *, last: bool) -> Frozen:
    import torch  # noqa: PLC0415 - in this contender's process only
    from engine_cold_torch import MobileNet  # noqa: PLC0415

    torch.set_num_threads(setting.threads)
    model = shared_model(MOBILENET)
    network = MobileNet(described(model)).eval()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays(model).items()})
    form = torch.channels_last if last else torch.contiguous_format
    network.to(memory_format=form)

    def features(pictures: Array) -> Any:  # noqa: ANN401 - a tensor
        with torch.inference_mode():
            return network.features(torch.from_numpy(pictures).contiguous(memory_format=form))

    return Frozen(setting, model, features)


def frozen(model: Model) -> tuple[list[Layer], str]:
    """Return the layers before the first trained one, and the blob that it reads."""
    assert model.network is not None  # noqa: S101 - one model is meant
    layers = model.network.layers
    first = next(number for number, layer in enumerate(layers) if layer.updatable)
    return list(layers[:first]), layers[first].inputs[0]


def described(model: Model) -> list[dict[str, Any]]:
    """Return the frozen layers in plain words, for a module that knows nothing of Core ML."""
    return [_described(layer) for layer in frozen(model)[0]]


def _described(layer: Layer) -> dict[str, Any]:
    found: dict[str, Any] = {"type": layer.type, "inputs": list(layer.inputs), "output": layer.outputs[0]}
    if isinstance(p := layer.parameters, Convolution):
        found |= {"name": layer.name, "inner": p.kernel_channels * p.groups, "outer": p.output_channels}
        found |= {"kernel": p.kernel[0], "stride": p.stride[0], "groups": p.groups}
    return found


def arrays(model: Model) -> dict[str, Array]:
    """Return the convolutions' weights by the names that the module gives them."""
    found: dict[str, Array] = {}
    for layer in frozen(model)[0]:
        if isinstance(p := layer.parameters, Convolution):
            shape = (p.output_channels, p.kernel_channels, *p.kernel)
            found[f"layers.{layer.name}.weight"] = np.array(codec.array(p.weights, shape))
            if p.bias is not None:
                found[f"layers.{layer.name}.bias"] = np.array(codec.array(p.bias, (p.output_channels,)))
    return found
