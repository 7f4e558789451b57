"""``python -m sparsecore.models.pretrain.table RESULT...``: results of runs as a table in Markdown."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsecore.errors import DataError, SparseCoreError
from sparsecore.models.options import DENSE

__all__ = ["main", "table"]

_NUMBERS = ("valid_perplexity", "valid_loss", "parameters", "steps_per_s", "peak_memory_bytes")

_HEAD = (
    "| method | density | validation perplexity | loss | links | weights | ANP, % | ITOP, % | steps/s | peak memory |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n"
)


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a row for every result, densest first; steps per second and memory beside those of the dense run.

    Parameters
    ----------
    results : sequence of mapping
        What `train` returned.
    """
    dense = next((found["summary"] for found in results if found["run"]["method"] == DENSE), None)
    ordered = sorted(results, key=lambda found: (-_density(found), found["run"]["method"]))
    return _HEAD + "".join(_row(found, dense) for found in ordered)


def _density(found: Mapping[str, Any]) -> float:
    """Return the density that was reached, or the one that was asked for where a result does not say."""
    if found["run"]["method"] == DENSE:
        return 1.0
    return float(found["summary"].get("density", found["run"]["density"]))


def _row(found: Mapping[str, Any], dense: Mapping[str, Any] | None) -> str:
    done = found["summary"]
    columns = [
        found["run"]["method"],
        f"{_density(found):.0%}",
        f"**{done['valid_perplexity']:.2f}**",
        f"{done['valid_loss']:.3f}",
        f"{done['links']:,}" if "links" in done else "–",
        f"{done['parameters']:,}",
        *(f"{100 * done[name]:.1f}" if name in done else "–" for name in ("anp", "itop")),
        _beside(done, dense, "steps_per_s", 1.0, "{:.2f}"),
        _beside(done, dense, "peak_memory_bytes", 2.0**20, "{:.0f} MiB"),
    ]
    return f"| {' | '.join(columns)} |\n"


def _beside(done: Mapping[str, Any], dense: Mapping[str, Any] | None, name: str, unit: float, form: str) -> str:
    if done[name] is None:
        return "–"
    text = form.format(done[name] / unit)
    if dense is None or done is dense:
        return text
    return f"{text} (–)" if dense[name] is None else f"{text} ({done[name] / dense[name]:.2f}×)"


def main(argv: list[str] | None = None) -> int:
    """Write the table of result files, or of the folders of runs; returns 0 if nothing failed."""
    paths = [Path(word) for word in (sys.argv[1:] if argv is None else argv)]
    try:
        sys.stdout.write(table([_read(path / "result.json" if path.is_dir() else path) for path in paths]))
    except SparseCoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"Expected the result of a run in {path}. Got: {error}.") from error
    if not _is_result(found):
        raise DataError(f"Expected the result of a run in {path}. Got another JSON. Name a result.json of a run.")
    return found


def _is_result(found: Any) -> bool:
    run, done = (found.get(name) if isinstance(found, dict) else None for name in ("run", "summary"))
    if not isinstance(run, dict) or not isinstance(done, dict):
        return False
    return {"method", "density"} <= run.keys() and set(_NUMBERS) <= done.keys()


if __name__ == "__main__":
    sys.exit(main())
