"""Apple's own reading of the format, as an independent oracle."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from shared import oracle


@pytest.fixture(scope="session")
def apple() -> Any:  # noqa: ANN401 - an optional module has no type here
    """Return `coremltools.proto.Model_pb2`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the libraries that it was not tested with
        return oracle("coremltools.proto.Model_pb2")


@pytest.fixture(scope="session")
def quantization() -> Any:  # noqa: ANN401 - an optional module has no type here
    """Return coremltools' quantisation helpers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return oracle("coremltools.models.neural_network.quantization_utils")
