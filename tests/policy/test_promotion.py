"""Is the candidate better?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from finetuned.policy.promotion import judge
from finetuned.service.messages import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a model scored on fifteen samples."""

    loss_value: float | None
    accuracy: float | None = None
    samples: int = 15


@pytest.mark.parametrize(
    ("before", "after", "promotion", "reason"),
    [
        (
            Score(accuracy=0.3, loss_value=1.0),
            Score(accuracy=0.8, loss_value=2.0),
            "promoted",
            "better on 15 held-out samples",
        ),
        (
            Score(accuracy=0.8, loss_value=1.0),
            Score(accuracy=0.8, loss_value=0.9),
            "promoted",
            "better on 15 held-out samples",
        ),
        (
            Score(accuracy=0.8, loss_value=1.0),
            Score(accuracy=0.8, loss_value=1.0),
            "kept",
            "no better on 15 held-out samples",
        ),
        (
            Score(accuracy=0.8, loss_value=1.0),
            Score(accuracy=0.8, loss_value=1.1),
            "kept",
            "worse on 15 held-out samples",
        ),
        (
            Score(accuracy=0.8, loss_value=1.0),
            Score(accuracy=0.7, loss_value=0.1),
            "kept",
            "worse on 15 held-out samples",
        ),
        (Score(loss_value=1.0), Score(loss_value=0.9), "promoted", "better on 15 held-out samples"),
        (Score(loss_value=1.0), Score(loss_value=1.0), "kept", "no better on 15 held-out samples"),
        (Score(loss_value=1.0), Score(loss_value=1.1), "kept", "worse on 15 held-out samples"),
        (Score(loss_value=None), Score(loss_value=5.0), "promoted", "better on 15 held-out samples"),
        (Score(loss_value=1.0), Score(loss_value=None), "kept", "its loss is not a finite number"),
        (Score(loss_value=None), Score(loss_value=None), "kept", "its loss is not a finite number"),
        (Score(loss_value=1.0), Score(loss_value=math.nan), "kept", "its loss is not a finite number"),
        (
            Score(loss_value=math.inf),
            Score(loss_value=math.inf),
            "kept",
            "its loss is not a finite number",
        ),
        (
            Score(accuracy=0.1, loss_value=1.0),
            Score(accuracy=0.9, loss_value=None),
            "kept",
            "its loss is not a finite number",
        ),
    ],
)
def test_accuracy_decides_then_loss_and_what_cannot_be_measured_is_kept(
    before: Score, after: Score, promotion: str, reason: str
) -> None:
    judged = judge(before, after, held_out=True)
    assert (judged.promotion, judged.reason) == (promotion, reason)


@pytest.mark.parametrize(
    ("before", "after", "promotion", "reason"),
    [
        (0.3, 0.8, "promoted", "better on 15 held-out samples"),
        (0.8, 0.8, "promoted", "as good on 15 held-out samples"),
        (0.8, 0.7, "kept", "worse on 15 held-out samples"),
    ],
)
def test_without_a_loss_what_is_as_good_is_promoted_since_it_knows_more(
    before: float, after: float, promotion: str, reason: str
) -> None:
    scores = (Score(accuracy=accuracy, loss_value=None) for accuracy in (before, after))
    judged = judge(*scores, held_out=True, by_loss=False)
    assert (judged.promotion, judged.reason) == (promotion, reason)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (6, "better on the 6 samples it was trained on; too few to hold any out"),
        (1, "better on the 1 sample it was trained on; too few to hold any out"),
    ],
)
def test_a_candidate_that_is_judged_on_what_it_learnt_from_says_so(samples: int, reason: str) -> None:
    before, after = Score(loss_value=2.0, samples=samples), Score(loss_value=1.0, samples=samples)
    assert judge(before, after, held_out=False).reason == reason


def test_a_workers_metrics_can_be_judged_as_they_are() -> None:
    before = Metrics(samples=15, loss_value=1.2, accuracy=0.33)
    after = Metrics(samples=15, loss_value=0.4, accuracy=0.8)
    assert judge(before, after, held_out=True).reason == "better on 15 held-out samples"
