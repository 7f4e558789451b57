"""The parts of the page, each with its heading and the words around its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparsecore.report.adjacency import heat_maps
from sparsecore.report.charts import legend
from sparsecore.report.chord import chord_picture
from sparsecore.report.compare import difference_table, setting_table
from sparsecore.report.content import Run
from sparsecore.report.curves import learning_curves, network_curves
from sparsecore.report.degrees import degree_charts
from sparsecore.report.disk import disk_picture
from sparsecore.report.figures import FIGURES, figures_of
from sparsecore.report.flow import BANDS, flow_picture
from sparsecore.report.groups import groups_of
from sparsecore.report.markup import Node, node
from sparsecore.report.numbers import count, in_bytes, percent, seconds
from sparsecore.report.tables import layer_table, measure_table, neuron_table, pairs_table, summary_table

__all__ = ["Section", "comparison", "curves", "headline", "run_sections", "subtitle"]


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    name : str
        In the address and in the list of parts.
    title : str
        Its heading.
    content : list of Node
        What is below.
    """

    name: str
    title: str
    content: list[Node]

    def draw(self, *, before: str = "", level: int = 2) -> Node:
        """Return it under a heading of some level, its address with something before the name."""
        return node("section", node(f"h{level}", self.title), *self.content, id=before + self.name)


def headline(run: Run) -> Node:
    """Return the tiles at the top: accuracy, density, ANP, ITOP, time and memory."""
    found, write = figures_of(run), {figure.field: figure for figure in FIGURES}
    held = [found.get(f"{part}_bytes") for part in ("weight", "index", "state")]
    stored = "" if None in held else f"{in_bytes(sum(part or 0 for part in held))} hold parameters and optimizer"
    tiles = (
        ("accuracy_last", f"best epoch {percent(found['accuracy_best_on_test'])}"),
        ("density", f"{count(found['links'])} links"),
        ("anp", "of the neurons are active"),
        ("itop", f"of all possible links were tried, {count(found['updates'])} updates"),
        ("wall_s", f"{found['ms_per_step']:.3g} ms per step, {count(found['epochs'])} epochs"),
        ("peak_memory_bytes", stored),
    )
    return node(
        "dl",
        *(
            node("div", node("dt", write[name].label), node("dd", write[name].cell(found.get(name))), node("dd", note))
            for name, note in tiles
        ),
        class_="tiles",
    )


def curves(runs: Sequence[Run]) -> list[Section]:
    """Return learning curves and the network over time, of all runs in one."""
    keys = [legend([(run.name, style % 7) for style, run in enumerate(runs)])] if len(runs) > 1 else []
    parts = [Section("learning", "Learning curves", [*keys, _grid(learning_curves(runs))])]
    over_time = network_curves(runs)
    if over_time:
        about = (
            "A neuron is active if signals can pass it. Explored is a link that existed at any time. Overlap is the "
            "share of the links grown by an update that the same update had removed. Accuracy and network of an "
            "epoch are those before the update that ends it."
        )
        parts.append(Section("activity", "The network over time", [_text(about), *keys, _grid(over_time)]))
    return parts


def comparison(runs: Sequence[Run]) -> list[Section]:
    """Return the tables of differences."""
    tables = node("div", difference_table(runs), setting_table(runs), class_="pair")
    return [Section("differences", "Differences", [tables])]


def run_sections(run: Run) -> list[Section]:
    """Return what is said about one run beside its curves."""
    parts: list[Section] = []
    if run.moments:
        parts += [_layers(run), _links(run), _degrees(run), _network(run), _paths(run)]
    else:
        words = "This model is dense: it has no lists of links, so there is nothing to show of layers and network."
        parts.append(Section("layers", "Layers", [_text(words)]))
    return [*parts, _settings(run)]


def _layers(run: Run) -> Section:
    return Section("layers", "Layers", [layer_table(run)])


def _links(run: Run) -> Section:
    words = "Each picture shows a layer at one time: the stronger a tile stands out, the more links it holds. "
    if len(run.moments) < 3:
        words += "Times between are shown for runs that keep more checkpoints (train --keep 10)."
    return Section("links", "Links over time", [_text(words.strip()), *heat_maps(run.moments)])


def _degrees(run: Run) -> Section:
    words = (
        "The share of neurons with at least k links, hidden neurons counted on both sides. A straight line is a power "
        "law; its exponent γ is fitted to the tail by maximum likelihood. Read it with the number of neurons it rests "
        "on and the Kolmogorov-Smirnov distance: a random network has an exponent too, a large one."
    )
    charts = degree_charts(run.structures, run.chain_names)
    left_out = "" if len(charts) > len(run.chain_names) else f" Shown are the first {len(charts) - 1} layers."
    return Section("degrees", "Degrees", [_text(f"{words}{left_out}{_which(run)}"), _grid(charts)])


def _network(run: Run) -> Section:
    latest = run.latest
    communities, angles, radii = latest.communities, latest.angles, latest.radii()
    pictures: list[Node] = []
    missing = []
    if isinstance(communities, str):
        missing.append(f"No communities: {communities}")
    else:
        groups = groups_of(latest.core.layers, communities)
        rest = f"; all others together are grey; {groups.n_communities} in all" if groups.others else ""
        note = (
            f"Found by Leiden, modularity {communities.modularity:.3f}. The largest have numbers{rest}. "
            f"{latest.core.note}"
        )
        pictures.append(chord_picture(groups, note.strip()))
        if isinstance(angles, str) or isinstance(radii, str):
            missing.append(f"No hyperbolic disk: {angles if isinstance(angles, str) else radii}")
        else:
            pictures.append(disk_picture(latest, groups, angles, radii))
    when = list(run.structures)[-1]
    words = f"Inputs and neurons of the chain as one undirected network, {when}; colours are those of communities."
    content = [_text(words + _which(run)), *(_text(reason) for reason in missing), _grid(pictures, wide=True)]
    return Section("network", "Communities and hyperbolic disk", [*content, measure_table(run.structures)])


def _paths(run: Run) -> Section:
    words = (
        "Every chain of links from an input to an output is a path along which credit is assigned. Columns are neuron "
        "layers; heights are shares of all paths. If all neurons were alike, a tenth of them would carry a tenth."
    )
    keys = _bands()
    pictures = [flow_picture(when, structure.chain) for when, structure in run.structures.items()]
    content = [_text(words + _which(run)), keys, _grid(pictures, wide=True), neuron_table(run.structures)]
    return Section("paths", "Credit-assignment paths", content)


def _settings(run: Run) -> Section:
    config = dict(run.config)
    machine = config.pop("machine", None)
    tables = [summary_table(run), pairs_table("Configuration", config)]
    if machine is not None:
        tables.append(pairs_table("Machine that trained", machine))
    else:
        tables.append(_text("The folder of this run does not name the machine that trained it."))
    return Section("settings", "All figures, configuration, machine", [node("div", *tables, class_="pair")])


def _bands() -> Node:
    swatches = (
        node("li", node("span", class_=f"swatch b{band}", aria_hidden="true"), name)
        for band, (_, name) in enumerate(BANDS)
    )
    return node("ul", *swatches, class_="legend")


def _which(run: Run) -> str:
    if run.n_chains == 1:
        return ""
    names = run.chain_names
    name = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    return f" Of {run.n_chains} chains of layers, this is the one with most links: {name}."


def _grid(figures: Sequence[Node], *, wide: bool = False) -> Node:
    return node("div", *figures, class_="grid wide" if wide or len(figures) % 3 == 1 else "grid")


def _text(words: str) -> Node:
    return node("p", words, class_="about")


def subtitle(run: Run) -> str:
    """Return one line that says what was trained."""
    state = "" if run.summary is not None else ", not ended yet"
    settings = run.config.get("run")
    known = settings if isinstance(settings, dict) else {}
    parts = [str(known[name]) for name in ("method", "data") if name in known]
    return f"{' on '.join(parts) or run.name}, {run.last.epoch} epochs in {seconds(run.last.elapsed_s)}{state}"
