"""The section on whole training steps."""

from __future__ import annotations

from typing import Any

from sparsecore.bench.page.machine import hand_over, percent, picture, table

__all__ = ["step_section"]

Row = dict[str, Any]


def step_section(rows: list[Row], links: dict[str, str]) -> str:
    """Return one table per density and batch."""
    sizes = "-".join(str(size) for size in rows[0]["sizes"])
    lines = [
        "## One training step\n",
        f"Forward, cross-entropy, backward and fused momentum SGD of a {sizes} network, through autograd; the hidden "
        "layers are sparse, the head is dense. `x` is the time of a contender over ours, each with the number of "
        "threads that suits it best. `sparsecore` takes the step of `sparsecore.optim.SGD`, all others that of torch's "
        "fused SGD (the same update). sparselab stores its rows without padding, torch CSR autograd gets the same "
        "momentum by hand because torch's optimizers refuse CSR parameters, dense in bf16 runs under autocast.\n",
        *picture(links, "step", "Whole step against density"),
    ]
    for row in rows:
        alone = row["links_alone"]
        lines.append(
            f"**{percent(row['density'])} of the links, batch {row['batch']}** ({hand_over(row)}). Forward and "
            f"backward of the sparse layers alone take {alone['median_us']:.0f} µs of our step.\n"
        )
        lines += table(
            ["contender", "µs per step", "quartiles", "threads", "x"], map(_cells, row["contenders"].items())
        )
    if "onednn" in rows[0]:
        lines.append(f"oneDNN ran as `{rows[0]['onednn']}`.\n")
    return "\n".join(lines)


def _cells(item: tuple[str, Row]) -> list[str]:
    name, entry = item
    if entry["status"] != "ok":
        return [name, "–", entry["status"], "–", "–"]
    quartiles = f"{entry['low_us']:.0f} – {entry['high_us']:.0f}"
    return [name, f"{entry['median_us']:.0f}", quartiles, str(entry["threads"]), f"{entry['ratio']:.2f}"]
