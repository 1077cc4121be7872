"""The benchmarks of the engine in miniature: that they run, not how fast."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
Module = Any


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Module]:
    """Import a module of the benchmarks; they are scripts, no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def test_a_duel_compares_who_is_there_and_says_who_is_not(
    bench: Callable[[str], Module], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "onnx_ad.py").write_text("raise ModuleNotFoundError('gone', name='onnx_ad')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    engine, duels, models = bench("engine"), bench("engine_duel"), bench("engine_models")
    pace = duels.Pace(rounds=2, seconds=0.01)

    outcome = engine.told(models.Setting(task="tiny"), ("finetuned", "products", "onnx-ad"), pace)

    assert set(outcome.ratios) == {"products"}
    assert 0 < outcome.ratios["products"].low <= outcome.ratios["products"].high
    assert outcome.absent == {"onnx-ad": "onnx_ad is not installed"}


@pytest.mark.parametrize(
    ("losses", "compared"),
    [
        ([2.0, 1.5], True),
        ([2.0, 1.501], True),
        ([2.0, 1.6], False),
        ([2.001, 1.5], False),
        ([2.0, float("nan")], False),
        ([], True),
    ],
    ids=["the same", "float32", "another path", "another start", "NaN", "products have none"],
)
def test_only_those_with_the_same_losses_are_compared(
    bench: Callable[[str], Module],
    losses: list[float],
    compared: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert (not bench("engine_duel").disagreement([2.0, 1.5], losses)) is compared


def test_a_ratio_is_the_median_of_those_of_the_rounds(bench: Callable[[str], Module]) -> None:
    # Somebody else had the machine in the second round, and in half of the third.
    ratio = bench("engine_duel").ratio([2.0, 20.0, 2.0], [1.0, 10.0, 10.0])

    assert ratio.median == pytest.approx(2.0)
    assert (ratio.low, ratio.high) == pytest.approx((1.1, 2.0))


def test_the_page_says_which_aims_are_met(bench: Callable[[str], Module]) -> None:
    duels, models = bench("engine_duel"), bench("engine_models")
    results = bench("engine").Results()
    for task, found in (("head5", 2.5), ("head100", 1.9)):
        ratio = duels.Ratio(median=found, low=found, high=found)
        results.main.append(
            duels.Outcome(
                setting=models.Setting(task=task),
                seconds={"finetuned": 1e-4, "eager": found * 1e-4},
                ratios={"eager": ratio},
                variants={},
                absent={"onnx-ad": "onnx_ad is not installed"},
            )
        )

    page = bench("engine_page").page(results)

    assert "| head 1280 → 5 | 1 | 320,000 | **2.50** (2.50–2.50) | ≥ 2: met |" in page
    assert "| head 1280 → 100 | 1 | 320,000 | **1.90** (1.90–1.90) | ≥ 2: **missed** |" in page
    assert "* onnx-ad: onnx_ad is not installed (head 1280 → 5, head 1280 → 100).\n" in page


def test_a_cell_of_the_search_compares_who_is_there(bench: Callable[[str], Module]) -> None:
    neighbors = bench("neighbors")
    cells = neighbors.measured(200, 3, 1, 0.001)
    assert [cell["batch"] for cell in cells] == [1, 256]
    assert all(cell["finetuned"] > 0 for cell in cells)
    row = neighbors.row(cells[0] | {"finetuned": 2.0, "sklearn": 5.0, "faiss": 1.0})
    assert row.startswith("| 200 | 3 | 1 | 1 | 2.000 | 5.000 | 2.50 | 1.000 | 0.50 |")
