"""Writes docs/link_prediction.md from the JSON of `sparsecore.bench.networks`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sparsecore._typing import Float64Array

__all__ = ["samples", "write_page"]

#: Precision and area of one network by predictor, (n_splits, 2).
Samples: TypeAlias = dict[str, Float64Array]

LABELS = {
    "ch31_l3p": "CH3.1-L3p", "ch3_l3p": "CH3-L3p", "ch2_l3p": "CH2-L3p",
    "ch31_l3n": "CH3.1-L3n", "ch2_l3n": "CH2-L3n", "ch3_l3n": "CH3-L3n",
    "ra_l3": "RA-L3", "cn_l3": "CN-L3", "degree_product": "degree product", "random": "random",
}  # fmt: skip

_HEAD = """# Link prediction in real networks

Written by `python -m sparsecore.bench.networks` from `bench/results/networks.json`; do not edit by hand.

The predictors that regrow links are the published ones, and here they do what they were published for: tell missing
links of real bipartite networks from pairs that are not linked. A tenth of the links is taken out at random, {n_splits}
times per network; all pairs without a link are then scored by the streams that training uses. Precision is the share of
removed links among as many pairs of highest score, expected over orders of ties. AUPR is the average precision of
scikit-learn over the whole ranking. Every entry is a mean ± standard error over the splits; the splits share one
network, so the error says how well the mean over splits is known, not how another network would do.

Networks: Davis' southern women (18 women, 14 events) and the four human drug-target networks of Yamanishi et al.
*Reached* is the share of removed links that at least one path of three links still joins: the others have score 0 under
every L3 predictor, which bounds what any of them can find.
"""


def samples(entry: Mapping[str, Any]) -> Samples:
    """Return precision and area of one network by predictor, float64, (n_splits, 2)."""
    splits = list(entry["splits"].values())
    return {name: np.array([split[name] for split in splits]) for name in splits[0] if name != "reached"}


def write_page(results: Mapping[str, Any], page: Path) -> None:
    """Write the page from the results of all networks."""
    found = {name: samples(entry) for name, entry in results.items()}
    n_splits = min(len(entry["splits"]) for entry in results.values())
    parts = [
        _HEAD.format(n_splits=n_splits),
        _networks(results),
        _table(found, 1, "AUPR"),
        _table(found, 0, "Precision"),
        _ranking(found),
        _literature(found),
        _nodes(found),
        _consistency(results, found),
        _SOURCES,
    ]
    page.write_text("\n".join(parts))


def _networks(results: Mapping[str, Any]) -> str:
    lines = ["| network | size | links | taken out | reached, % |", "|---|---|---|---|---|"]
    for name, entry in results.items():
        reached = np.array([split["reached"] for split in entry["splits"].values()])
        size = " x ".join(map(str, entry["shape"]))
        n_removed = max(1, round(0.1 * entry["links"]))
        lines.append(f"| {name} | {size} | {entry['links']:,} | {n_removed} | {100 * reached.mean():.0f} |")
    return "\n".join([*lines, ""])


def _table(found: Mapping[str, Samples], column: int, title: str) -> str:
    lines = [f"## {title}\n", f"| predictor | {' | '.join(found)} | mean rank |", "|---" * (len(found) + 2) + "|"]
    best = {name: max(LABELS, key=lambda each, s=part: s[each][:, column].mean()) for name, part in found.items()}  # type: ignore[misc]
    ranks = _mean_ranks(found, column)
    for label in sorted(LABELS, key=lambda each: ranks[each]):
        cells = []
        for name, part in found.items():
            value = _with_error(part[label][:, column])
            behind = part[best[name]][:, column] - part[label][:, column]
            # Not told apart from the best one: the paired difference is less than two of its standard errors.
            close = label == best[name] or behind.mean() < 2 * _error(behind)
            cells.append(f"**{value}**" if close else value)
        lines.append(f"| {LABELS[label]} | {' | '.join(cells)} | {ranks[label]:.1f} |")
    note = "Bold: the best of a network, and those whose paired difference to it is below two standard errors."
    return "\n".join([*lines, "", note, ""])


def _mean_ranks(found: Mapping[str, Samples], column: int) -> dict[str, float]:
    totals = dict.fromkeys(LABELS, 0.0)
    for part in found.values():
        order = sorted(LABELS, key=lambda label: -part[label][:, column].mean())
        for rank, label in enumerate(order, 1):
            totals[label] += rank / len(found)
    return totals


def _ranking(found: Mapping[str, Samples]) -> str:
    chain = ("ch31_l3p", "ch3_l3p", "ch2_l3p", "ra_l3", "cn_l3", "degree_product", "random")
    lines = [
        "## Ranking\n",
        "Paired differences of AUPR between neighbours in the order of the path-based predictors, in units of their\n"
        "standard error (above 2: the first is better):\n",
        f"| first – second | {' | '.join(found)} |",
        "|---" * (len(found) + 1) + "|",
    ]
    for first, second in zip(chain[:-1], chain[1:], strict=True):
        cells = [_score(part[first][:, 1] - part[second][:, 1]) for part in found.values()]
        lines.append(f"| {LABELS[first]} – {LABELS[second]} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _literature(found: Mapping[str, Samples]) -> str:
    means = {name: {label: part[label][:, 1].mean() for label in part} for name, part in found.items()}

    def wins(first: str, second: str) -> str:
        count = sum(by[first] > by[second] for by in means.values())
        return f"{count} of {len(means)} networks"

    ratios = [by["ch2_l3n"] / by["ch3_l3p"] for by in means.values()]
    lines = [
        "## Against the literature\n",
        "| published | here (AUPR) |",
        "|---|---|",
        "| counting three-step paths finds links (Daminelli et al. 2015; Kovács et al. 2019) "
        f"| CN-L3 above the degree product on {wins('cn_l3', 'degree_product')} |",
        "| paths through hubs should count less (Kovács et al. 2019) "
        f"| RA-L3 above CN-L3 on {wins('ra_l3', 'cn_l3')} |",
        "| links that leave the local community should count against it (Muscoloni et al. 2022) "
        f"| CH3-L3p above RA-L3 on {wins('ch3_l3p', 'ra_l3')}, CH2-L3p above RA-L3 on {wins('ch2_l3p', 'ra_l3')} |",
        "| CH3 and CH3.1 are put forward after CH2; no rule is best on all networks, so the adaptive automaton chooses "
        f"one (Muscoloni et al. 2022) | CH3-L3p above CH2-L3p on {wins('ch3_l3p', 'ch2_l3p')}; CH3.1-L3p above "
        f"CH3-L3p on {wins('ch31_l3p', 'ch3_l3p')} |",
        "| CH2-L3n is a cheaper stand-in for CH3-L3p in training (Zhang et al. 2025) "
        f"| its AUPR is {min(ratios):.2f} to {max(ratios):.2f} times that of CH3-L3p |",
        "",
        "The published figures themselves are not set beside ours: they come from other networks, or from ten-fold",
        "cross-validation on these (Durán et al. 2018), and break ties by correlations of shortest paths, which is not",
        "done here.",
        "",
    ]
    return "\n".join(lines)


def _nodes(found: Mapping[str, Samples]) -> str:
    lines = [
        "## Why CH3-L3n falls behind CH3-L3p\n",
        "CH3-L3p adds up paths; CH3-L3n adds up nodes, and a node with one path counts as much as one with ten.",
        "If that is the reason, weighting each node by its paths (numerator UU in place of 1, a control that is no",
        "predictor of the engine) must bring CH3-L3n to CH2-L3n, whose numerator is UU + 1, and towards CH3-L3p.",
        "AUPR:\n",
        f"| | {' | '.join(found)} |",
        "|---" * (len(found) + 1) + "|",
    ]
    rows = (
        ("ch3_l3n", "CH3-L3n"),
        ("nodes_by_paths", "CH3-L3n, nodes weighted by paths"),
        ("ch2_l3n", "CH2-L3n"),
        ("ch3_l3p", "CH3-L3p"),
    )
    for name, label in rows:
        lines.append(f"| {label} | {' | '.join(_with_error(part[name][:, 1]) for part in found.values())} |")
    gained = [_score(part["nodes_by_paths"][:, 1] - part["ch3_l3n"][:, 1]) for part in found.values()]
    lines.append(f"| gain of the weights, in standard errors | {' | '.join(gained)} |")
    means = [{name: part[name][:, 1].mean() for name in part} for part in found.values()]
    closed = [(by["nodes_by_paths"] - by["ch3_l3n"]) / (by["ch3_l3p"] - by["ch3_l3n"]) for by in means]
    lines.append(f"| share of the gap to CH3-L3p that they close | {' | '.join(f'{part:.0%}' for part in closed)} |")
    return "\n".join([*lines, ""])


def _consistency(results: Mapping[str, Any], found: Mapping[str, Samples]) -> str:
    lines = [
        "## How predictable the networks are\n",
        "Structural consistency (Lü et al. 2015; [measures.md](measures.md)) takes out a tenth of the links too, and",
        "asks how many of them the spectrum of the rest ranks first when it is corrected for them: an estimate of how",
        "predictable a network is, without a predictor. On the drug-target networks it is near the best precision.\n",
        f"| | {' | '.join(found)} |",
        "|---" * (len(found) + 1) + "|",
    ]
    rows = {
        name: [np.array(entry["consistency"][name]) for entry in results.values()] for name in ("network", "random")
    }
    ranks = [str(entry["consistency"]["rank"] or "all") for entry in results.values()]
    best = [max((part[label][:, 0] for label in LABELS), key=lambda values: values.mean()) for part in found.values()]
    lines.append(f"| structural consistency | {' | '.join(map(_with_error, rows['network']))} |")
    lines.append(f"| the same, random links of equal number | {' | '.join(map(_with_error, rows['random']))} |")
    lines.append(f"| singular values | {' | '.join(ranks)} |")
    lines.append(f"| best precision of a predictor | {' | '.join(map(_with_error, best))} |")
    note = [
        "It flatters small networks: the correction has seen the removed links, and with few of them it gives many",
        "away. On random links, where nothing can be predicted, it finds far more than chance when the network is",
        "small. That is why the southern women look more predictable than any predictor finds them.",
    ]
    return "\n".join([*lines, "", *note, ""])


def _error(values: Float64Array) -> float:
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")


def _with_error(values: Float64Array) -> str:
    return f"{values.mean():.3f} ± {_error(values):.3f}"


def _score(differences: Float64Array) -> str:
    error = _error(differences)
    return f"{differences.mean() / error:+.1f}" if error > 0 else "–"


_SOURCES = """## Sources

- A. Davis, B. Gardner, M. Gardner, *Deep South* (1941).
- Y. Yamanishi et al., *Prediction of drug-target interaction networks from the integration of chemical and genomic
  spaces*, Bioinformatics 24 (2008).
- S. Daminelli et al., *Common neighbours and the local-community-paradigm for topological link prediction in
  bipartite networks*, New Journal of Physics 17 (2015).
- C. Durán et al., *Pioneering topological methods for network-based drug-target prediction by exploiting a
  brain-network self-organization theory*, Briefings in Bioinformatics 19 (2018).
- I. A. Kovács et al., *Network-based prediction of protein interactions*, Nature Communications 10 (2019).
- L. Lü et al., *Toward link predictability of complex networks*, PNAS 112 (2015).
- A. Muscoloni et al., *Adaptive network automata modelling of complex networks* (2022).
- Y. Zhang et al., *Brain network science modelling of sparse neural networks enables Transformers and LLMs to perform
  as fully connected* (2025).
"""
