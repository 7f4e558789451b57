"""What all registered parts have in common, whatever their kind."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from sparsecore import predictors, removal, selection
from sparsecore.evolution import redistribution
from sparsecore.registry import Entry

ENTRIES = [
    entry
    for registry in (
        predictors.registry,
        removal.registry,
        removal.amounts,
        selection.registry,
        redistribution.registry,
    )
    for entry in registry
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.factory.__module__}.{entry.name}")
def test_a_part_is_a_frozen_value_that_says_where_it_comes_from(entry: Entry) -> None:
    part = entry.factory()
    assert dataclasses.is_dataclass(part)
    with pytest.raises(dataclasses.FrozenInstanceError):
        part.anything = 1  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(part)) == part == entry.factory()
    assert hash(part) == hash(entry.factory())
    assert entry.summary.endswith(".")
    assert entry.paper
    assert entry.equation
