"""The sections on the products of one layer and on where they stop beating dense ones."""

from __future__ import annotations

from typing import Any

from sparsecore.bench.contenders.products import DENSE, OURS, SPARSE
from sparsecore.bench.crossover import crossings
from sparsecore.bench.page.machine import hand_over, percent, picture, shape_of, table

__all__ = ["crossover_section", "kernels_section"]

Row = dict[str, Any]


def kernels_section(rows: list[Row], links: dict[str, str]) -> str:
    """Return one table per shape and batch: GF/s of all contenders, speed-ups over dense."""
    roofs = [row["roof"] for row in rows]
    lines = [
        "## One layer\n",
        "GF/s of 2·links·B per product on all cores; backward is two products (input and weight gradients). Ours takes "
        "and returns row-major activations and packs them itself; torch CSR and SciPy get theirs feature-major, which "
        "suits them best. Dense contenders compute all weights; their GF/s count all of them. SciPy has no sampled "
        "product, so no backward. `x` columns: time of a dense forward and backward over ours.\n",
        f"Roofs measured beside the rows: {max(roof['gflops'] for roof in roofs):.0f} GF/s for a large dense float32 "
        f"product, {max(roof['gbytes'] for roof in roofs):.0f} GB/s for a copy.\n",
        *picture(links, "speedup", "Speed-up over dense against density"),
        *picture(links, "roofline", "Forward and backward under the roofs"),
    ]
    for row in rows:
        lines.append(f"**{shape_of(row)}, batch {row['batch']}** ({hand_over(row)})\n")
        lines += _tables(row)
    return "\n".join(lines)


def _tables(row: Row) -> list[str]:
    cells: dict[tuple[str, float | None], dict[str, Row]] = {}
    left_out = []
    for entry in row["entries"]:
        if entry["status"] == "ok":
            cells.setdefault((entry["contender"], entry["density"]), {})[entry["product"]] = entry
        else:
            at = "" if entry["density"] is None else f" at {percent(entry['density'])}"
            left_out.append(f"{entry['contender']}{at}: {entry['status']}")
    densities = sorted({at for _, at in cells if at is not None})
    head = ["density", *(f"{name} f / b" for name in SPARSE), *(f"x {name.removeprefix('dense, ')}" for name in DENSE)]
    body = []
    for density in densities:
        speedup = cells.get((OURS, density), {}).get("both", {}).get("speedup", {})
        rates = [_rates(cells.get((name, density), {})) for name in SPARSE]
        ratios = [f"{speedup[name]:.2f}" if name in speedup else "–" for name in DENSE]
        body.append([percent(density), *rates, *ratios])
    dense = "; ".join(f"{name} {_rates(cells[name, None])}" for name in DENSE if (name, None) in cells)
    lines = [*table(head, body), f"GF/s, forward / backward: {dense}.\n"]
    return [*lines, f"Left out: {'; '.join(left_out)}.\n"] if left_out else lines


def _rates(products: dict[str, Row]) -> str:
    if not products:
        return "–"
    forward, backward = (
        f"{products[kind]['gflops']:.3g}" if kind in products else "–" for kind in ("forward", "backward")
    )
    return f"{forward} / {backward}"


def crossover_section(rows: list[Row], links: dict[str, str]) -> str:
    """Return the density at which forward and backward together stop beating each dense contender."""
    lines = [
        "## Where dense takes over\n",
        "Density at which forward and backward of one layer take as long as dense ones, interpolated between the "
        "densities above; `> 50%`: faster at every density measured, `< 0.01%`: slower at every one.\n",
    ]
    body = []
    for found in crossings(rows):
        body.append(
            [shape_of(found), str(found["batch"]), *(_word(found["density"].get(name)) for name in DENSE)],
        )
    return "\n".join([*lines, *table(["layer", "batch", *DENSE], body)])


def _word(found: tuple[str, float | None] | None) -> str:
    kind, density = found or ("not measured", None)
    if density is None:
        return "–"
    sign = {"crosses": "", "faster to": "> ", "slower from": "< "}[kind]
    return f"{sign}{float(f'{density * 100:.2g}'):g}%"
