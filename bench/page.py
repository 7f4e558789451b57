"""Writes docs/benchmarks.md from the JSON of the last runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["write_page"]

_HEAD = """# Benchmarks

Written by `python -m sparsecore.bench.run` from `bench/results/*.json`; do not edit by hand. Every contender must first
give the losses of the reference backend (or, for regrowth, the right number of distinct missing links); one that does
not is listed with what is wrong and is not timed. Contenders run in turns within one process; times are medians with
quartiles, ratios are medians over rounds. The hand-over time between two threads tells which speed mode the machine was
in.
"""


def write_page(results: Path, page: Path) -> None:
    """Write the page from all result files that exist."""
    parts = [_HEAD]
    for name, section in (("step", _step_section), ("regrowth", _regrowth_section)):
        path = results / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text())
            parts.append(section(result["rows"]) + "\n" + _machine_line(name, result["machine"]))
    page.write_text("\n".join(parts))


def _machine_line(suite: str, about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    missing = ", ".join(name for name, version in about["versions"].items() if not version)
    return (
        f"`python -m sparsecore.bench.run {suite}` at commit {about['commit']}; {about['cpu']}, {about['vector']}, "
        f"{about['cores']} cores; Python {about['python']}, {versions}. Not installed: {missing or 'none'}.\n"
    )


def _step_section(rows: list[dict[str, Any]]) -> str:
    lines = ["## One training step\n"]
    sizes = "-".join(str(size) for size in rows[0]["sizes"])
    lines.append(
        f"Forward, cross-entropy, backward and fused momentum SGD of a {sizes} network whose hidden layers hold "
        f"{rows[0]['density']:.0%} of their links. `x` is the time of a contender over ours.\n"
    )
    lines.append(
        "At these sizes the link kernels are the smaller part of our step; the rest is torch and Python around them: "
        "optimizer, dense head, loss, autograd. The trainer's compiled steps leave that out, see "
        "[results.md](results.md). Goals at batch 32 on one thread: 20 times masked dense, 2 times torch CSR stitched "
        "by hand.\n"
    )
    for row in rows:
        before, after = row["ping_pong_ns"]
        lines.append(
            f"**Batch {row['batch']}, {row['threads']} thread{'s' * (row['threads'] > 1)}** "
            f"(hand-over {before / 1e3:.1f} to {after / 1e3:.1f} µs)\n"
        )
        lines += ["| contender | µs per step | quartiles | x |", "|---|---|---|---|"]
        for name, entry in row["contenders"].items():
            if entry["status"] != "ok":
                lines.append(f"| {name} | – | {entry['status']} | – |")
                continue
            quartiles = f"{entry['low_us']:.0f} – {entry['high_us']:.0f}"
            lines.append(f"| {name} | {entry['median_us']:.0f} | {quartiles} | {entry['ratio']:.2f} |")
        lines.append("")
    return "\n".join(lines)


def _regrowth_section(rows: list[dict[str, Any]]) -> str:
    lines = ["## Regrowth without scores\n"]
    lines.append(
        "Drawing 30% of the links of one layer anew, in proportion to CH2-L3n, on one thread; the dense formulation "
        "computes all scores by matrix products and draws from them. Memory is what each needs beyond the layer.\n"
    )
    lines += [
        "| layer | density | links drawn | sampler, ms | dense, ms | sampler, MB | dense, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shape = f"{row['shape'][0]} x {row['shape'][1]}"
        if row["status"] != "ok":
            lines.append(f"| {shape} | {row['density']:.0%} | – | {row['status']} | – | – | – |")
            continue
        dense = "does not fit" if row["dense_ms"] is None else f"{row['dense_ms']:.0f}"
        lines.append(
            f"| {shape} | {row['density']:.0%} | {row['drawn']:,} | {row['median_ms']:.2f} | {dense} "
            f"| {row['bytes'] / 1e6:.1f} | {row['dense_bytes'] / 1e6:.0f} |"
        )
    return "\n".join([*lines, ""])
