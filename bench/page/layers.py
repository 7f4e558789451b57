"""The sections on updates and on memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sparsecore.bench.page.machine import hand_over, percent, picture, shape_of, table

__all__ = ["evolution_section", "memory_section"]

Row = dict[str, Any]


def evolution_section(rows: list[Row], links: dict[str, str]) -> str:
    """Return regrowth against the dense formulation, the stages of an update, and SET against sparselab."""
    good = [row for row in rows if row["status"] == "ok"]
    lines = [
        "## Updates of a layer\n",
        "Regrowth draws 30% of the links anew in proportion to CH2-L3n; no score is computed. The dense formulation "
        "computes all scores by matrix products and draws from them. Memory is the measured peak beyond the topology "
        "in a process of its own; for the dense formulation the size of its matrices.\n",
        *picture(links, "regrowth", "Regrowth time against size"),
    ]
    lines += table(
        ["layer", "density", "links drawn", "ms", "quartiles", "dense, ms", "MB", "dense, MB"], map(_regrowth, good)
    )
    lines.append(
        "A whole update per layer (CHTs with Adam; two layers back to back, halved): removal, percolation, regrowth, "
        "the edit, history of retired links, values and optimizer state moved, and the reading orders that the next "
        "forward needs. In brackets: the dense formulation of the same stage.\n"
    )
    stages = list(dict.fromkeys(name for row in good for name in row["update"].get("stages_ms", {})))
    lines += table(
        ["layer", "density", "update, ms", *stages, "update / regrowth"], (_stages(row, stages) for row in good)
    )
    lines.append("A SET update of one layer (magnitude removal, random regrowth), ms:\n")
    lines += table(["layer", "density", "sparsecore", "sparselab"], map(_set, good))
    for row in rows:
        if row["status"] != "ok":
            lines.append(f"{shape_of(row)} at {percent(row['density'])}: {row['status']}\n")
    lines.append(f"First row: {hand_over(rows[0])}; last row: {hand_over(rows[-1])}.\n")
    return "\n".join(lines)


def _ms(part: Row) -> str:
    return f"{part['median_ms']:.3g}" if part.get("status", "ok") == "ok" else str(part["status"])


def _regrowth(row: Row) -> list[str]:
    took, memory, dense = row["regrowth"], row.get("memory", {}), row["dense"]
    dense_ms = f"{dense['stages_ms']['regrowth']:.0f}" if dense["status"] == "ok" else dense["status"]
    return [
        shape_of(row),
        percent(row["density"]),
        f"{row['drawn']:,}",
        f"{took['median_ms']:.3g}",
        f"{took['low_ms']:.3g} – {took['high_ms']:.3g}",
        dense_ms,
        f"{memory['bytes'] / 1e6:.1f}" if "bytes" in memory else str(memory.get("status", "–")),
        f"{row['dense_bytes'] / 1e6:.0f}",
    ]


def _stages(row: Row, stages: Iterable[str]) -> list[str]:
    update = row["update"]
    if update["status"] != "ok":
        return [shape_of(row), percent(row["density"]), update["status"], *("–" for _ in stages), "–"]
    dense = row["dense"].get("stages_ms", {})
    whole = f"{update['median_ms']:.3g}" + (f" ({sum(dense.values()):.0f})" if dense else "")
    cells = [
        f"{update['stages_ms'].get(name, 0.0):.3g}" + (f" ({dense[name]:.0f})" if name in dense else "")
        for name in stages
    ]
    ratio = update["median_ms"] / max(update["stages_ms"]["regrowth"], 1e-9)
    return [shape_of(row), percent(row["density"]), whole, *cells, f"{ratio:.1f}"]


def _set(row: Row) -> list[str]:
    return [shape_of(row), percent(row["density"]), _ms(row["set"]["sparsecore"]), _ms(row["set"]["sparselab"])]


def memory_section(rows: list[Row], links: dict[str, str]) -> str:
    """Return the peaks of construction, training and update per contender."""
    lines = [
        "## Memory\n",
        f"Peak resident memory of one layer under Adam at batch {rows[0]['batch']}, each contender in a fresh process, "
        "above what its libraries take once a tiny layer has trained (compiled kernels included). Each is built by its "
        "library's own constructor; `update` replaces 30% of the links (CHTs for ours and masked, SET for sparselab). "
        "Masked and dense layers cost the same at any density.\n",
        *picture(links, "memory", "Training peak against density"),
    ]
    head = ["layer", "density", "contender", "construction, MB", "training, MB", "update, MB", "bytes per link"]
    ordered = sorted(rows, key=lambda row: (row["shape"], row["density"]))
    lines += table(head, map(_peaks, ordered))
    return "\n".join(lines)


def _peaks(row: Row) -> list[str]:
    start = [shape_of(row), percent(row["density"]), row["contender"]]
    if row["status"] != "ok":
        return [*start, row["status"], "–", "–", "–"]
    update = f"{row['evolution_bytes'] / 1e6:.1f}" if "evolution_bytes" in row else "–"
    return [
        *start,
        f"{row['construction_bytes'] / 1e6:.1f}",
        f"{row['training_bytes'] / 1e6:.1f}",
        update,
        f"{row['bytes_per_link']:.0f}",
    ]
