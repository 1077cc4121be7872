from __future__ import annotations

import numpy as np

from finetuned.edge.measuring import classifier_report


def test_probabilities_that_are_no_numbers_are_right_about_nothing() -> None:
    report = classifier_report(
        np.array([[np.nan, np.nan], [0.9, 0.1]], np.float32), np.array([0, 0]), ["a", "b"]
    )
    assert report.accuracy == 0.5
    assert report.loss is None
    assert report.confusion == {"a": {"a": 1}}
