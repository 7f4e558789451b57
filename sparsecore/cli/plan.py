"""The command that says before training what it would need, and whether that fits this machine."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sparsecore.cli.screen import console, in_bytes, percent
from sparsecore.errors import ConfigError, UnknownNameError
from sparsecore.planning import Cost, Machine, Outline, outline_mlp, plan_model, this_machine

__all__ = ["parse_sizes", "plan"]

_ROWS = {
    "weights": "weights",
    "structure": "mask or index lists",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "activations": "activations",
    "working": "working memory",
    "step": "peak of a step",
    "update": "peak of an update of the links",
}


def plan(
    model: Annotated[
        str,
        typer.Argument(
            help="Sizes of an MLP (784-1568x3-10), a LLaMA (llama-20m, -60m, -130m, -1b), a config.json or its folder.",
            show_default=False,
        ),
    ],
    density: Annotated[float, typer.Option(help="Fraction of links of every layer that becomes links.")] = 0.01,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples or sequences per step.")] = 32,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of a sequence (language models).")] = 256,
    optimizer: Annotated[str, typer.Option(help="sgd, momentum (SGD with it), adam or adamw.")] = "adam",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all processors when missing.")] = None,
) -> dict[str, Any]:
    """Tell the bytes of training dense, masked and on links, and whether they fit this machine (1: links do not)."""
    outline = _outline(model, batch_size, tokens)
    planned = plan_model(outline, density=density, optimizer=optimizer, threads=threads)
    machine = this_machine()
    costs = planned.costs
    console.print(_table(f"{model}: {_what(outline, planned.links, density)}", costs, machine))
    console.print(
        "Float32. Libraries (about 450 MB), data and what the allocator keeps come on top. Figures are within 15% of "
        "measured peaks (20% for language models); the peak of an update is measured per link (docs/howto/memory.md).",
        markup=False,
    )
    fits = {form: _fits(cost, machine.ram_bytes) for form, cost in costs.items()}
    on_gpu = {form: _fits(cost, machine.gpu_bytes) for form, cost in costs.items()}
    return {
        "model": model,
        "density": density,
        "links": planned.links,
        "possible_links": outline.possible,
        "other_weights": outline.other_weights,
        "costs": {form: cost.as_dict() for form, cost in costs.items()},
        "ram_bytes": machine.ram_bytes,
        "gpu_bytes": machine.gpu_bytes,
        "fits_ram": fits,
        "fits_gpu": on_gpu,
        "ok": fits["links"] is not False or on_gpu["links"] is True,
    }


def parse_sizes(text: str) -> tuple[int, ...] | None:
    """Return the sizes in a text such as 784-1568x3-10, or ``None`` if it is none.

    Examples
    --------
    >>> parse_sizes("784-1568x3-10")
    (784, 1568, 1568, 1568, 10)
    """
    if text.isdigit() or not re.fullmatch(r"\d+(x\d+)?(-\d+(x\d+)?)*", text):
        return None
    parts = (part.split("x") for part in text.split("-"))
    return tuple(int(size) for size, *times in parts for _ in range(int(times[0]) if times else 1))


def _outline(model: str, batch: int, tokens: int) -> Outline:
    sizes = parse_sizes(model)
    if sizes is not None:
        return outline_mlp(sizes, batch)
    # By name: the library never imports its models and needs no transformers library until somebody asks.
    pretrained = importlib.import_module("sparsecore.integrations.outline")
    config: Any = model
    if model.startswith("llama-"):
        config = _llama(model.removeprefix("llama-"), tokens)
    elif not Path(model).exists():
        raise ConfigError(
            f"Expected sizes such as 784-1568x3-10, llama-60m or the path of a config.json. Got {model!r}, "
            "which is neither and no file."
        )
    with console.status("running the model on tensors without data"):
        outline: Outline = pretrained.outline_pretrained(config, batch, tokens)
    return outline


def _llama(size: str, tokens: int) -> dict[str, Any]:
    sizes: dict[str, tuple[int, int, int, int]] = importlib.import_module("sparsecore.models.llama").SIZES
    if size not in sizes:
        raise UnknownNameError("size of LLaMA", size, sizes)
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
    fields = dict(zip(names, sizes[size], strict=True))
    return {"model_type": "llama", "vocab_size": 32_000, "max_position_embeddings": max(1024, tokens), **fields}


def _what(outline: Outline, links: int, density: float) -> str:
    return (
        f"{outline.possible:,} weights in {len(outline.shapes)} layers, {links:,} links at {percent(density)}; "
        f"{outline.other_weights:,} other parameters"
    )


def _table(title: str, costs: dict[str, Cost], machine: Machine) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for form in costs:
        table.add_column(form, justify="right")
    for name, label in _ROWS.items():
        values = [getattr(cost, name) for cost in costs.values()]
        table.add_row(label, *(in_bytes(value or None) for value in values), end_section=name == "working")
    for place, free in (("RAM", machine.ram_bytes), ("GPU memory", machine.gpu_bytes)):
        if free is not None:
            words = {True: "yes", False: "no", None: "–"}
            table.add_row(f"fits {place} ({in_bytes(free)} free)", *(words[_fits(c, free)] for c in costs.values()))
    return table


def _fits(cost: Cost, free: int | None) -> bool | None:
    return None if free is None else cost.peak <= free
