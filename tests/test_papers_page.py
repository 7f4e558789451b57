from __future__ import annotations

from pathlib import Path

import pytest

from sparsecore import generators, predictors, removal, schedules, selection
from sparsecore.evolution import methods, redistribution

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "papers.md").read_text()
REGISTRIES = (
    methods,
    redistribution.registry,
    removal.amounts,
    generators.allocations,
    *(room.registry for room in (generators, predictors, removal, selection, schedules)),
)


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_registered_part_has_a_line_on_the_page_of_papers(registry: object) -> None:
    rows = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| `")]
    for entry in registry:  # type: ignore[attr-defined]
        assert any(f"`{entry.name}`" in row for row in rows), entry.name


def test_files_named_on_the_page_exist() -> None:
    root = Path(__file__).resolve().parents[1] / "sparsecore"
    named = {part for part in PAGE.split("`") if part.endswith(".py") and "/" in part and not part.startswith("tests")}
    assert all((root / name).is_file() for name in named), named
