"""The commands."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from sparsecore import __version__, generators, predictors, removal, schedules, selection
from sparsecore.cli import demo as demo_runs
from sparsecore.cli import doctor as checks
from sparsecore.cli import rule as parts
from sparsecore.cli.bench import bench
from sparsecore.cli.export import export
from sparsecore.cli.measures import show_measures
from sparsecore.cli.names import completes
from sparsecore.cli.output import command, warned
from sparsecore.cli.parts import read_parts
from sparsecore.cli.plan import plan
from sparsecore.cli.plots import plot_runs
from sparsecore.cli.progress import RunProgress, Steps
from sparsecore.cli.report import report
from sparsecore.cli.screen import console, percent
from sparsecore.cli.tables import layer_figures, pairs_table, part_table, summary_table, topology_table
from sparsecore.errors import ConfigError
from sparsecore.evolution import methods as method_registry
from sparsecore.evolution import redistribution as redistributions
from sparsecore.io import RunFolder
from sparsecore.registry import Entry

__all__ = ["app"]

app = typer.Typer(
    name="sparsecore",
    help="Dynamic sparse training on lists of links: nothing of the size of a dense layer is ever made.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("--out", help="Folder of the run; made when missing.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace a run that is there already.")]
Keep = Annotated[int, typer.Option(min=1, help="Checkpoints to keep; earlier ones end in .1, .2 and so on.")]


def _models(name: str) -> Any:
    # By name: the library never imports its models, it only lets the command line look them up.
    return importlib.import_module(f"sparsecore.models.{name}")


def _version(show: bool) -> None:
    if show:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it and end.")
    ] = False,
    parts: Annotated[
        list[Path] | None,
        typer.Option(help="Python file that registers parts of your own, to be named like the others; repeatable."),
    ] = None,
) -> None:
    """Hold the options that come before a command."""
    for path in parts or ():
        read_parts(path)


def train(
    out: Out,
    data: Annotated[
        str, typer.Option(help="mnist, fashion_mnist, emnist_balanced, ..., cifar10 or mnist_5k.")
    ] = "mnist",
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the data, in torchvision's layout or plain; SPARSECORE_DATA when missing. Not for "
            "mnist_5k."
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="A name of `sparsecore methods`, with options as in deepr:l1=0.001, or dense.",
            autocompletion=completes(method_registry, "dense"),
        ),
    ] = "chts",
    density: Annotated[float, typer.Option(help="Fraction of links of every hidden layer.")] = 0.01,
    density_start: Annotated[
        float, typer.Option(help="Density of the first links under methods that bring it down: gmp, granet, chtss.")
    ] = 0.5,
    epochs: Annotated[int, typer.Option(help="Passes over the training set.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Samples per step.")] = 32,
    seed: Annotated[int, typer.Option(help="Seed of links, values, order of samples and updates.")] = 0,
    hidden: Annotated[str, typer.Option(help="Sizes of the hidden layers.")] = "1568,1568,1568",
    topology: Annotated[
        str,
        typer.Option(
            help="Generator of the first links; auto: that of the method's paper, brf where layers are too narrow.",
            autocompletion=completes(generators.registry, "auto"),
        ),
    ] = "auto",
    init: Annotated[str, typer.Option(help="Scheme of the first values: swi, kaiming or kaiming_dense.")] = "swi",
    dense_init: Annotated[
        str, typer.Option(help="Scheme of dense layers and biases: kaiming, or torch as in torch.nn.Linear.")
    ] = "kaiming",
    lr: Annotated[float, typer.Option(help="Learning rate at the first step.")] = 0.025,
    lr_end: Annotated[float, typer.Option(help="Learning rate at the last step, linear between.")] = 2.5e-4,
    momentum: Annotated[float, typer.Option(help="Momentum of SGD.")] = 0.9,
    weight_decay: Annotated[float, typer.Option(help="Weight decay of SGD.")] = 5e-4,
    zeta: Annotated[
        float | None, typer.Option(help="Fraction of links replaced per update; the method's own when missing.")
    ] = None,
    zeta_schedule: Annotated[
        str, typer.Option(help="constant, or cosine: from zeta to 0 over all updates.")
    ] = "constant",
    augment: Annotated[
        str,
        typer.Option(help="auto: change training images as published (CIFAR-10); none; or crop_flip:padding=1."),
    ] = "auto",
    every: Annotated[int | None, typer.Option(help="Steps between updates; one epoch when missing.")] = None,
    update_until: Annotated[
        float, typer.Option(help="Share of the run after which links stay as they are; schedules end there.")
    ] = 1.0,
    removal_rule: Annotated[
        str | None,
        typer.Option(
            "--removal",
            help="Removal in place of the method's own.",
            show_default=False,
            autocompletion=completes(removal.registry),
        ),
    ] = None,
    predictor: Annotated[
        str | None,
        typer.Option(
            help="Link predictor in place of the method's own.",
            show_default=False,
            autocompletion=completes(predictors.registry),
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Published settings of a task: mlp, translation or llama.", show_default=False)
    ] = None,
    removal_selection: parts.RemovalSelection = None,
    growth_selection: parts.GrowthSelection = None,
    temperature: parts.Temperature = None,
    density_schedule: parts.DensitySchedule = None,
    prune: parts.Prune = None,
    fresh: parts.Fresh = None,
    early_stop: parts.EarlyStop = None,
    percolate: parts.Percolate = None,
    amount: parts.Amount = None,
    redistribution: parts.Redistribution = None,
    holdout: Annotated[int, typer.Option(help="Training samples kept apart to choose an epoch by.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads; all processors when missing.")] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Same bits on any number of threads.")] = False,
    non_finite: Annotated[
        str, typer.Option(help="What happens to a step with NaN or infinity: raise, skip or clip.")
    ] = "raise",
    best: Annotated[
        str | None,
        typer.Option(
            help="Keep the best model too, by valid_accuracy (with --holdout), train_loss or test_accuracy.",
            show_default=False,
        ),
    ] = None,
    keep: Keep = 1,
    force: Force = False,
) -> dict[str, Any]:
    """Train an MLP on images and write RUN/config.json, metrics.jsonl, checkpoint, topologies and summary.json."""
    recipes = _models("recipes")
    config = recipes.ImageRun(
        data=data,
        data_dir=None if data_dir is None else str(data_dir.resolve()),
        method=method,
        density=density,
        density_start=density_start,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        hidden=_sizes(hidden),
        topology=topology,
        init=init,
        dense_init=dense_init,
        lr=lr,
        lr_end=lr_end,
        momentum=momentum,
        weight_decay=weight_decay,
        zeta=zeta,
        zeta_schedule=zeta_schedule,
        augment=augment,
        every=every,
        update_until=update_until,
        removal=removal_rule,
        predictor=predictor,
        preset=preset,
        rule=parts.rule_changes(
            density_start=density_start,
            density=density,
            temperature=temperature,
            density_schedule=density_schedule,
            early_stop=early_stop,
            keep=removal_selection,
            grow=growth_selection,
            prune=prune,
            fresh=fresh,
            percolate=percolate,
            amount=amount,
            redistribution=redistribution,
        ),
        holdout=holdout,
        threads=threads,
        deterministic=deterministic,
        non_finite=non_finite,
        best=best,
    )
    RunFolder.require_new(out, force=force)
    samples = recipes.load_data(config)
    with warned() as warnings:
        other_links = config.first_links(samples.n_features).warning
        if other_links is not None:
            warnings.show(other_links)
        with RunProgress(console) as progress:
            progress.note("compiling kernels (the first time on a machine takes longest)")
            recipes.warm_up(config)
            summary = recipes.run_in(out, config, samples, force=force, keep=keep, events=[progress])
    return {**_show_summary(RunFolder(out), summary.as_dict()), "warnings": warnings.texts}


def resume(
    run: Annotated[Path, typer.Argument(help="Folder of an interrupted run.", show_default=False)],
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the data, if it has moved.")] = None,
    keep: Keep = 1,
) -> dict[str, Any]:
    """Go on with an interrupted run after its last checkpoint: same losses, same links as without the break."""
    recipes = _models("recipes")
    folder = RunFolder(run, keep=keep)
    done = folder.summary()
    if done is not None:
        console.print(f"{run} has ended already.")
        return _show_summary(folder, done)
    config = recipes.read_config(folder)
    folder = RunFolder(run, keep=keep, best=config.best)
    samples = recipes.load_data(config, data_dir)
    with warned(), RunProgress(console) as progress:
        recipes.warm_up(config)
        summary = recipes.resume(folder, samples, events=[progress])
    return _show_summary(folder, summary.as_dict())


def inspect(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    plots: Annotated[bool, typer.Option("--plots", help="Write PNG pictures to RUN/plots.")] = False,
    measures: Annotated[
        bool, typer.Option("--measures", help="Measure the network: communities, distances, degrees, ...; seconds.")
    ] = False,
) -> dict[str, Any]:
    """Show configuration, layers, last epoch and summary of a run."""
    folder = RunFolder(run)
    config = _models("recipes").read_config(folder).as_dict()
    console.print(pairs_table(config, f"{run}: configuration"))
    records, after = folder.metrics(), folder.topologies("after")
    before = folder.topologies("before")
    found: dict[str, Any] = {"run": run, "config": config, "ended": folder.summary() is not None}
    for when, layers in (("before", before), ("after", after)):
        found[when] = {name: layer_figures(topology) for name, topology in layers.items()}
        if layers:
            console.print(topology_table(layers, f"layers {when} training"))
    if records:
        found["epoch"] = records[-1].as_dict()
        console.print(pairs_table(found["epoch"], f"epoch {records[-1].epoch}"))
    done = folder.summary()
    if done is None:
        console.print(f"The run has not ended. Go on with: sparsecore resume {run}", markup=False)
    else:
        found["summary"] = _show_summary(folder, done)
    if measures:
        found["measures"] = show_measures(folder)
    if plots:
        if not records:
            raise ConfigError(f"Expected at least one finished epoch for pictures of {run}. Got none.")
        with Steps("drawing", 1):
            paths = plot_runs(folder.path / "plots", {run.name: records}, {run.name: before}, {run.name: after})
        found["plots"] = paths
        for path in paths:
            console.print(f"wrote {path}", markup=False)
    return found


def methods() -> dict[str, Any]:
    """List methods and the parts they are made of, one line each, and what falling densities cost."""
    kinds: dict[str, Iterable[Entry]] = {
        "method": method_registry,
        "generator": generators.registry,
        "predictor": predictors.registry,
        "removal": removal.registry,
        "amount": removal.amounts,
        "selection": selection.registry,
        "redistribution": redistributions.registry,
        "allocation": generators.allocations,
        "schedule": schedules.registry,
    }
    console.print(part_table(kinds))
    planned = _models("costs").planned_costs()
    costs = ", ".join(f"{name} {percent(cost, 1)}" for name, cost in planned.items())
    console.print(
        "Mean density over training, the cost of the links over dense cost, of methods that change it, from 50% to 1% "
        f"(mest: from 1% to 1%): {costs}; of all others 1% at 1%.",
        markup=False,
    )
    fields = ("name", "summary", "equation", "paper")
    parts = {kind: [{field: getattr(entry, field) for field in fields} for entry in kinds[kind]] for kind in kinds}
    return {"parts": parts, "mean_density": planned}


def demo(
    out: Out = Path("runs/demo"),
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the 4,000 training images; 30 when missing.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    force: Force = False,
) -> dict[str, Any]:
    """Train dense, static, SET and CHTs networks (1% of the links) on 5,000 real images, with nothing to download."""
    return demo_runs.run_demo(out, epochs=epochs, seed=seed, force=force)


def doctor() -> dict[str, Any]:
    """Show versions, threads, vectors, backends, memory, why a GPU is or is not used, and conflicts (1: there are)."""
    found, conflicts = checks.findings(), checks.conflicts()
    console.print(pairs_table(found, "this machine"))
    for conflict in conflicts:
        console.print(f"conflict: {conflict}", markup=False, style="yellow", soft_wrap=True)
    if not conflicts:
        console.print("No known conflicts.")
    return {"found": found, "conflicts": conflicts, "ok": not conflicts}


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"Expected hidden as numbers separated by commas, e.g. 512,512. Got {text!r}.") from None


def _show_summary(folder: RunFolder, summary: dict[str, Any]) -> dict[str, Any]:
    console.print(summary_table({folder.path.name: summary}, "summary"))
    chosen = summary["accuracy_at_best_valid"]
    console.print(
        f"accuracy: {percent(summary['accuracy_last'])} after the last epoch, "
        f"{percent(summary['accuracy_best_on_test'])} at the best epoch on the test set itself"
        + ("" if chosen is None else f", {percent(chosen)} at the best epoch on held-out samples")
        + f"; {summary['epochs']} epochs, {summary['updates']} updates. Files are in {folder.path}.",
        markup=False,
    )
    return {"run": folder.path, **summary}


for _function in (plan, train, resume, inspect, report, export, bench, methods, demo, doctor):
    command(app, _function)
