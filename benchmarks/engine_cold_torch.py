"""The cold job as a PyTorch script: load a MobileNetV2, decode pictures, make features, train a head, save it.

It knows neither Core ML nor finetuned: its network is a JSON of layers beside a file of weights, both made beforehand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

AT_ONCE = 32


class MobileNet(nn.Module):
    """The frozen layers, run in the order of the file."""

    def __init__(self, layers: list[dict[str, Any]]) -> None:
        super().__init__()
        self.order = layers
        self.last = {name: number for number, each in enumerate(layers) for name in each["inputs"]}
        self.layers = nn.ModuleDict(
            {
                each["name"]: nn.Conv2d(
                    each["inner"],
                    each["outer"],
                    each["kernel"],
                    each["stride"],
                    0 if each["stride"] > 1 else each["kernel"] // 2,
                    groups=each["groups"],
                )
                for each in layers
                if each["type"] == "convolution"
            }
        )

    def features(self, pictures: Any) -> Any:  # noqa: ANN401 - tensors
        """Return [N, 1280] from uint8 [N, 3, H, W]."""
        blobs = {"image": pictures.float() * 0.0078125 - 1.0}
        for number, each in enumerate(self.order):
            inputs = [blobs[name] for name in each["inputs"]]
            for name in each["inputs"]:  # what nobody reads any more is let go, as in a module's own code
                if self.last[name] == number:
                    del blobs[name]
            blobs[each["output"]] = self._layer(each, inputs)
            del inputs
        (x,) = blobs.values()
        return x.flatten(1)

    def _layer(self, layer: dict[str, Any], inputs: list[Any]) -> Any:  # noqa: ANN401 - tensors
        x = inputs[0]
        if layer["type"] == "convolution":
            return self.layers[layer["name"]](_padded(x, layer))
        if layer["type"] == "clip":
            return F.relu6(x)
        if layer["type"] == "add":
            return x + inputs[1]
        return x.mean((2, 3)) if layer["type"] == "pooling" else x


def _padded(x: Any, layer: dict[str, Any]) -> Any:  # noqa: ANN401 - tensors
    """The odd pixel of `same` lies at the bottom right, as TensorFlow has it."""
    if layer["stride"] == 1:
        return x
    total = max((-(-x.shape[2] // 2) - 1) * 2 + layer["kernel"] - x.shape[2], 0)
    return F.pad(x, (total // 2, total - total // 2, total // 2, total - total // 2))


def pictures(folder: Path) -> tuple[Any, Any]:
    """Decode; return uint8 [N, 3, 224, 224] and class indices, by folder."""
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    found, labels = [], []
    for index, label in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for path in sorted(label.iterdir()):
            picture = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
            found.append(np.asarray(picture).transpose(2, 0, 1))
            labels.append(index)
    return torch.from_numpy(np.stack(found)), torch.tensor(labels)


def main(model: Path, data: Path, out: Path, epochs: int, threads: int) -> None:
    """Do the job."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = MobileNet(json.loads(model.with_suffix(".json").read_text()))
    network.load_state_dict(torch.load(model, weights_only=True))
    x, y = pictures(data)
    with torch.inference_mode():
        made = torch.cat([network.features(part) for part in x.split(AT_ONCE)])
    features, head = made.clone(), nn.Linear(1280, 10)
    loss, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(head.parameters(), lr=0.01)
    for _ in range(epochs):
        for rows in torch.randperm(len(y)).split(8):
            optimizer.zero_grad(set_to_none=True)
            value = loss(head(features[rows]), y[rows])
            value.backward()
            optimizer.step()
            value.item()
    torch.save({**network.state_dict(), **head.state_dict(prefix="head.")}, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
