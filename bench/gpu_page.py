"""The tables of docs/gpu.md, written between two marks from the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparsecore.bench.gate import OK
from sparsecore.bench.gpu_layers import speed_up
from sparsecore.bench.store import read_rows

__all__ = ["tables", "write_tables"]

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

Rows = list[dict[str, Any]]


def write_tables(results: Path, page: Path) -> None:
    """Replace what stands between the marks of `page` by the tables of `results`."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{tables(read_rows(results))}\n{END}{after}", encoding="utf-8")


def tables(rows: Rows) -> str:
    """Return all tables as Markdown; one sentence where nothing was measured."""
    measured = [row for row in rows if "entries" in row]
    if not measured:
        return "Nothing has been measured yet."
    head = f"Measured on {measured[0]['gpu']}, medians, milliseconds."
    parts = [head, _layers(measured), _crossovers(measured), *(_plain(measured, kind) for kind in _TITLES)]
    return "\n\n".join(part for part in parts if part)


_TITLES = {
    "regrowth": "Soft regrowth of 30% of the links by CH2-L3n, and the edit",
    "step": "A training step of three hidden layers with Adam",
    "memory": "Memory of building such a network and its first step",
}


def _of(rows: Rows, kind: str) -> Rows:
    return [row for row in rows if row["setting"]["kind"] == kind]


def _size(setting: dict[str, Any]) -> str:
    size = " x ".join(map(str, setting["shape"])) if "shape" in setting else f"width {setting['width']}"
    return f"{size} | {setting.get('batch', '')} | {setting['density']:.0%}"


def _number(entry: dict[str, Any]) -> str:
    return f"{entry['ms']:.3g}" if entry["status"] == OK else entry["status"]


def _layers(rows: Rows) -> str:
    lines = []
    for product in ("forward", "input gradient", "value gradient"):
        found = [(row, [e for e in row["entries"] if e["product"] == product]) for row in _of(rows, "layer")]
        if not found:
            return ""
        names = list(dict.fromkeys(e["contender"] for _, entries in found for e in entries))
        lines += [f"**One layer, {product}**\n", "| layer | batch | density | " + " | ".join(names) + " |"]
        lines.append("|---" * (3 + len(names)) + "|")
        for row, entries in found:
            by_name = {e["contender"]: _number(e) for e in entries}
            cells = " | ".join(by_name.get(name, "") for name in names)
            lines.append(f"| {_size(row['setting'])} | {cells} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _crossovers(rows: Rows) -> str:
    """Return the largest measured density at which all three products together beat a dense layer."""
    best: dict[tuple[str, int, str], float] = {}
    pairs = {"float32": "dense float32", "bfloat16": "dense bfloat16"}
    for row in _of(rows, "layer"):
        setting = row["setting"]
        for kind, dense in pairs.items():
            key = " x ".join(map(str, setting["shape"])), setting["batch"], kind
            gain = speed_up(row["entries"], f"sparsecore {kind}", dense)
            best[key] = max(best.get(key, 0.0), setting["density"] if gain is not None and gain > 1 else 0.0)
    if not best:
        return ""
    lines = ["**Largest measured density at which links beat a dense layer of the same precision**\n"]
    lines += ["| layer | batch | " + " | ".join(pairs) + " |", "|---" * (2 + len(pairs)) + "|"]
    for shape, batch in dict.fromkeys(key[:2] for key in best):
        cells = (best[shape, batch, kind] for kind in pairs)
        lines.append(f"| {shape} | {batch} | " + " | ".join(f"{cell:.0%}" if cell else "none" for cell in cells) + " |")
    return "\n".join(lines)


def _plain(rows: Rows, kind: str) -> str:
    found = _of(rows, kind)
    if not found:
        return ""
    lines = [f"**{_TITLES[kind]}**\n", "| layer | batch | density | what | contender | ms | peak MiB |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in found:
        for e in row["entries"]:
            peak = "" if e.get("peak_bytes") is None else f"{e['peak_bytes'] / 2**20:.1f}"
            lines.append(f"| {_size(row['setting'])} | {e['product']} | {e['contender']} | {_number(e)} | {peak} |")
    return "\n".join(lines)
