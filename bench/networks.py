"""``python -m sparsecore.bench.networks``: link prediction in real networks; JSON, then docs/link_prediction.md.

A tenth of the links is taken out at random; every pair without a link is then scored, and the removed ones should come
first. Finished splits are kept in the JSON file, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from sparsecore import predictors
from sparsecore._typing import BoolArray, Float64Array, Int64Array
from sparsecore.bench.networks_page import write_page
from sparsecore.errors import DataError
from sparsecore.metrics import structural_consistency
from sparsecore.storage import Topology

__all__ = ["NETWORKS", "PREDICTORS", "all_scores", "data_folder", "load_network", "main", "quality", "removed_pairs"]

#: File below ``networks/`` and, in an archive, its member.
NETWORKS = {
    "southern women": ("davis_southern_women.tsv", ""),
    "nuclear receptors": ("yamanishi2008_drug_target.tar.gz", "nr_admat_dgc.txt"),
    "GPCRs": ("yamanishi2008_drug_target.tar.gz", "gpcr_admat_dgc.txt"),
    "ion channels": ("yamanishi2008_drug_target.tar.gz", "ic_admat_dgc.txt"),
    "enzymes": ("yamanishi2008_drug_target.tar.gz", "e_admat_dgc.txt"),
}

PREDICTORS = (
    "ch2_l3n", "ch3_l3n", "ch31_l3n", "ch2_l3p", "ch3_l3p", "ch31_l3p", "ra_l3", "cn_l3", "random",
    "nodes_by_paths", "degree_product",
)  # fmt: skip

#: Fraction of the links that is taken out.
FRACTION = 0.1

_ROOT = Path(__file__).resolve().parents[1]


def degree_product(topology: Topology) -> Float64Array:
    """Return a control that sees degrees alone, d_u · d_v of every pair, float64, (n_out, n_in)."""
    return np.outer(topology.out_degrees, topology.in_degrees).astype(np.float64)


def nodes_by_paths(topology: Topology) -> Float64Array:
    """Return CH3-L3n with every node weighted by its paths, float64, (n_out, n_in); tells what CH3-L3n leaves out.

    ``Σ_z2 UU/be + Σ_z1 VV/al`` where CH3-L3n has numerators 1 for every node with a path.
    """
    links = topology.to_dense().astype(np.float64)
    scores = np.zeros(links.shape)
    for matrix, out in ((links, scores), (links.T, scores.T)):
        shared = matrix @ matrix.T
        external = matrix.sum(axis=1) - shared  # of column j, seen from row i; 0 cannot reach a missing link
        np.fill_diagonal(shared, 0.0)
        out += np.divide(shared, external, out=np.zeros_like(shared), where=external > 0) @ matrix
    return scores


#: Scores of all pairs that are no registered predictors.
CONTROLS: dict[str, Callable[[Topology], Float64Array]] = {
    "nodes_by_paths": nodes_by_paths,
    "degree_product": degree_product,
}


def data_folder() -> Path:
    """Return the data folder: SPARSECORE_DATA, or shared/data beside the repository."""
    return Path(os.environ.get("SPARSECORE_DATA", _ROOT.parent / "shared" / "data"))


def load_network(folder: Path, name: str) -> Topology:
    """Return one of `NETWORKS`; rows are targets or women, columns drugs or events.

    Raises
    ------
    DataError
        If its file is missing or has another form.
    """
    file, member = NETWORKS[name]
    path = folder / "networks" / file
    if not path.is_file():
        raise DataError(f"Expected {path}. Got no such file. Set SPARSECORE_DATA or --data to the folder of the data.")
    if not member:
        pairs = [line.split("\t") for line in path.read_text().splitlines() if line]
        (_, rows), (_, cols) = (np.unique(column, return_inverse=True) for column in zip(*pairs, strict=True))
        return Topology.from_coo(rows, cols, shape=(int(rows.max()) + 1, int(cols.max()) + 1))
    with tarfile.open(path) as archive:
        content = archive.extractfile(member)
        if content is None:
            raise DataError(f"Expected {member} in {path}. Got no such file.")
        table = io.TextIOWrapper(content).read().splitlines()
    matrix = np.array([[int(entry) for entry in line.split("\t")[1:]] for line in table[1:]])
    return Topology.from_coo(*np.nonzero(matrix), shape=matrix.shape)


def removed_pairs(topology: Topology, name: str, split: int) -> tuple[Topology, Int64Array]:
    """Return the topology without a tenth of its links, and the ids of those, sorted; a function of name and split."""
    random = np.random.default_rng([zlib.crc32(name.encode()), split])
    ids = topology.link_ids
    gone = random.choice(ids.size, max(1, round(FRACTION * ids.size)), replace=False)
    return Topology.from_ids(np.delete(ids, gone), topology.shape), np.sort(ids[gone])


def all_scores(name: str, topology: Topology) -> Float64Array:
    """Return the scores of all pairs by a predictor or control, float64, (n_out * n_in,); for small networks alone."""
    if name in CONTROLS:
        return CONTROLS[name](topology).ravel()
    scores = np.zeros(topology.n_possible)
    for block in predictors.get(name).stream(topology):
        scores[block.ids] = block.scores
    return scores


def quality(scores: Float64Array, wanted: BoolArray) -> tuple[float, float]:
    """Return precision among the first ``wanted.sum()`` and area under precision-recall.

    Parameters
    ----------
    scores : array, float64, (n,)
        One per candidate.
    wanted : array, bool, (n,)
        The removed links.

    Returns
    -------
    float
        Expected precision over all orders of ties.
    float
        Average precision (scikit-learn); candidates of one score enter together, so ties gain nothing either.
    """
    n = int(wanted.sum())
    limit = np.partition(scores, scores.size - n)[scores.size - n]
    above, tied = scores > limit, scores == limit
    drawn = (n - np.count_nonzero(above)) / np.count_nonzero(tied)  # chance of a tied candidate to be among the first
    hits = np.count_nonzero(wanted & above) + np.count_nonzero(wanted & tied) * drawn
    return float(hits / n), float(average_precision_score(wanted, scores))


def measure_split(topology: Topology, name: str, split: int) -> dict[str, Any]:
    """Return precision and area of every predictor on one split, and the share of removed links that paths reach."""
    kept, gone = removed_pairs(topology, name, split)
    free = np.ones(topology.n_possible, np.bool_)
    free[kept.link_ids] = False
    wanted = np.zeros(topology.n_possible, np.bool_)
    wanted[gone] = True
    results: dict[str, Any] = {}
    for label in PREDICTORS:
        scores = all_scores(label, kept)
        scores = np.round(scores / scores.max(initial=1e-300), 10)  # equal sums of other orders are ties
        results[label] = [round(value, 6) for value in quality(scores[free], wanted[free])]
        if label == "cn_l3":
            results["reached"] = round(float(np.mean(scores[gone] > 0)), 6)
    return results


def measure_consistency(topology: Topology) -> dict[str, Any]:
    """Return structural consistency of a network, and of random ones of its size, 20 draws each."""
    found = structural_consistency(topology, fraction=FRACTION, repeats=20)
    null = []
    for seed in range(20):
        ids = np.random.default_rng(seed).choice(topology.n_possible, topology.n_links, replace=False)
        layer = Topology.from_ids(ids, topology.shape)
        null.append(structural_consistency(layer, fraction=FRACTION, repeats=1, seed=seed).mean)
    rows = {"network": found.values, "random": null}
    return {"rank": found.rank, **{name: [round(value, 6) for value in values] for name, values in rows.items()}}


def main(argv: list[str] | None = None) -> int:
    """Measure what is missing in the JSON file, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m sparsecore.bench.networks", description=__doc__)
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder that holds networks/")
    parser.add_argument("--splits", type=int, default=50, help="random removals per network")
    parser.add_argument("--results", type=Path, default=_ROOT / "bench" / "results" / "networks.json")
    parser.add_argument("--page", type=Path, default=_ROOT / "docs" / "link_prediction.md")
    options = parser.parse_args(argv)
    results = _read(options.results)
    for name in NETWORKS:
        topology = load_network(options.data, name)
        entry = results.setdefault(name, {"shape": list(topology.shape), "links": topology.n_links, "splits": {}})
        for split in range(options.splits):
            if entry["splits"].get(str(split), {}).keys() != {*PREDICTORS, "reached"}:
                entry["splits"][str(split)] = measure_split(topology, name, split)
        if "consistency" not in entry:
            entry["consistency"] = measure_consistency(topology)
        _write(options.results, results)
        sys.stderr.write(f"{name}: {len(entry['splits'])} splits\n")
    write_page(results, options.page)
    return 0


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _write(path: Path, results: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(part, path)


if __name__ == "__main__":
    sys.exit(main())
