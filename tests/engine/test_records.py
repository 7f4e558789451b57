from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecore.engine import area_across_epochs


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_area_is_the_trapezoid_rule_and_lies_between_the_extremes(accuracies: list[float]) -> None:
    area = area_across_epochs(accuracies)
    assert area == pytest.approx(np.trapezoid(accuracies) / (len(accuracies) - 1), abs=1e-12)
    assert min(accuracies) - 1e-9 <= area <= max(accuracies) + 1e-9


def test_one_epoch_has_its_own_accuracy_and_none_has_zero() -> None:
    assert area_across_epochs([0.7]) == 0.7
    assert area_across_epochs([]) == 0.0
