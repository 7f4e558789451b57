"""A trained model made small for inference: what no signal passes is taken out, the outputs stay."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from sparsecore._typing import BoolArray
from sparsecore.errors import check_fraction
from sparsecore.nn.chain import SparseSequential, sparse_layers
from sparsecore.nn.linear import SparseLinear
from sparsecore.nn.sequence import Constant, SelectFeatures, has_hooks, steps_of
from sparsecore.nn.stages import Stage, acts_per_neuron, kept_between, signal_of, stage_of

__all__ = ["DENSE_ABOVE", "Compaction", "compact", "stored_bytes"]

_log = logging.getLogger("sparsecore.nn")

#: Density above which a layer runs on dense kernels. Where these overtake the link kernels was measured between 10% and
#: 50%, depending on width, batch and threads.
DENSE_ABOVE = 0.3


@dataclass
class Compaction:
    """What `compact` did.

    Attributes
    ----------
    neurons_removed : int
        Hidden neurons taken out.
    constants_folded : int
        How many of them sent a constant that went into the biases of the next layer.
    inputs_dropped : int
        Input features that nobody reads; a `SelectFeatures` stands in front.
    made_dense : list of str
        Sparse layers that became `nn.Linear`.
    made_constant : list of str
        Layers that a `Constant` replaced, because no signal passes through their chain.
    left_alone : list of str
        Layers that were not touched, by their names in the given model, and why.
    links_before, links_after : int
        Stored links of sparse layers; of those that became dense only before.
    bytes_before, bytes_after : int
        Bytes of parameters, buffers and index lists, see `stored_bytes`.
    """

    neurons_removed: int = 0
    constants_folded: int = 0
    inputs_dropped: int = 0
    made_dense: list[str] = field(default_factory=list)
    made_constant: list[str] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)
    links_before: int = 0
    links_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    def __str__(self) -> str:
        """Say it in a few lines."""
        lines = [
            f"removed {self.neurons_removed} hidden neurons ({self.constants_folded} of them constant), "
            f"dropped {self.inputs_dropped} inputs",
            f"links {self.links_before} -> {self.links_after}, bytes {self.bytes_before} -> {self.bytes_after}",
        ]
        named = (("dense now", self.made_dense), ("constant now", self.made_constant), ("left alone", self.left_alone))
        return "\n".join([*lines, *(f"{what}: {', '.join(names)}" for what, names in named if names)])


def compact(model: nn.Module, *, dense_above: float = DENSE_ABOVE) -> tuple[nn.Module, Compaction]:
    """Return a copy of `model` for inference with the same outputs, up to rounding, and a report.

    In every run of sparse and dense linear layers that modules acting per neuron separate: hidden neurons that
    nobody reads are removed; hidden neurons that no link reaches are constants, which go into the biases of the next
    layer; both until nothing changes. Inputs that nobody reads are dropped by a `SelectFeatures` in front. Sparse
    layers that are dense inside after that become `nn.Linear`. Dropout disappears.

    Parameters
    ----------
    model : Module
        Any model; it is not changed. Runs are looked for in `nn.Sequential`, `SparseSequential` and models whose
        ``is_chain`` says that they apply ``hidden`` and ``head`` to flattened inputs. Other sparse layers are left
        alone, with one message.
    dense_above : float
        Density in [0, 1] above which a sparse layer becomes dense; 1 keeps all layers sparse, 0 makes all dense.

    Returns
    -------
    model : Module
        In evaluation mode, no parameter asks for gradients. Where layers became `nn.Linear`, inputs must have the dtype
        of the parameters.
    report : Compaction

    Raises
    ------
    ConfigError
        If `dense_above` is not in [0, 1].

    Examples
    --------
    >>> net = SparseSequential(SparseLinear(100, 50, density=0.01), nn.ReLU(), SparseLinear(50, 3, density=0.1))
    >>> small, report = compact(net)
    >>> x = torch.randn(4, 100)
    >>> bool(torch.allclose(small(x), net(x), atol=1e-5)), report.neurons_removed > 0
    (True, True)
    """
    check_fraction("dense_above", dense_above, "the density from which a layer runs on dense kernels")
    report = Compaction(bytes_before=stored_bytes(model))
    report.links_before = sum(layer.topology.n_links for layer in sparse_layers(model).values())
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    names = {id(layer): name or "model" for name, layer in sparse_layers(twin).items()}
    walk = _Walk(twin, dense_above, report)
    small = walk.rewritten(twin)
    seen = set(walk.handled)
    for layer in sparse_layers(small).values():
        if id(layer) not in seen:
            reason = walk.reasons.get(id(layer), "stands outside a sequence of layers")
            report.left_alone.append(f"{names[id(layer)]} ({reason})")
    report.links_after = sum(layer.topology.n_links for layer in sparse_layers(small).values())
    report.bytes_after = stored_bytes(small)
    if report.left_alone:
        _log.warning("left alone by compact: %s", "; ".join(report.left_alone))
    return small.eval(), report


def stored_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's distinct parameters and buffers and of the links of its sparse layers.

    Of the links, the stored lists count (``col_ptr``, ``rows``); those derived at run time do not.
    """
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    topologies = {id(layer.topology): layer.topology for layer in sparse_layers(model).values()}
    lists = sum(topology.col_ptr.nbytes + topology.rows.nbytes for topology in topologies.values())
    return sum(tensor.nbytes for tensor in tensors.values()) + lists


class _Walk:
    """Goes through the modules of one model and rewrites its sequences."""

    def __init__(self, model: nn.Module, dense_above: float, report: Compaction) -> None:
        self.dense_above, self.report = dense_above, report
        self.handled: list[int] = []
        self.reasons: dict[int, str] = {}
        self._done: dict[int, nn.Module] = {}
        self._places = Counter(
            id(child) for module in model.modules() for child in module._modules.values() if child is not None
        )

    def rewritten(self, module: nn.Module, name: str = "") -> nn.Module:
        """Return what takes the place of a module; a module that stands in several places is rewritten once."""
        if id(module) not in self._done:
            self._done[id(module)] = self._rewrite(module, name)
        return self._done[id(module)]

    def _rewrite(self, module: nn.Module, name: str) -> nn.Module:
        prefix = f"{name}." if name else ""
        if not name and type(module) is SparseLinear:
            return self._sequence([("model", module)])
        steps = steps_of(module)
        if steps is not None and any(type(step) is SparseLinear for _, step in steps):
            layers = (SparseLinear, nn.Linear)
            return self._sequence(
                [(prefix + at, s if isinstance(s, layers) else self.rewritten(s, prefix + at)) for at, s in steps]
            )
        for part, child in module._modules.items():
            if child is not None:
                module._modules[part] = self.rewritten(child, prefix + part)
        return module

    def _sequence(self, steps: Sequence[tuple[str, nn.Module]]) -> nn.Module:
        out: list[nn.Module] = []
        run: list[tuple[str, nn.Module]] = []
        for name, step in steps:
            belongs = self._belongs(step)
            if run and not (belongs and _fits(run, step)):
                if isinstance(step, nn.BatchNorm1d) and belongs:
                    self.report.left_alone.append(f"{name} (normalises axis 1, not the outputs of the layer before)")
                out += self._run(run)
                run = []
            if belongs and (run or not acts_per_neuron(step)):
                run.append((name, step))
            elif type(step) is not nn.Dropout or has_hooks(step):
                out.append(step)
        return SparseSequential(*out, *(self._run(run) if run else ()))

    def _belongs(self, step: nn.Module) -> bool:
        if type(step) not in (SparseLinear, nn.Linear):
            return acts_per_neuron(step) and not has_hooks(step)
        reason = "has hooks" if has_hooks(step) else "used in several places" if self._places[id(step)] > 1 else None
        if reason:
            self.reasons[id(step)] = reason
        return reason is None

    def _run(self, run: Sequence[tuple[str, nn.Module]]) -> list[nn.Module]:
        """Return what a run of layers becomes; the run starts with a layer."""
        if not any(isinstance(step, SparseLinear) for _, step in run):
            return [step for _, step in run]
        names, stages, betweens = _parted(run)
        n_in, example = stages[0].n_in, next(run[0][1].parameters())
        self._remove_unread(stages, betweens)
        self._fold_constants(stages, betweens)
        read = stages[0].reads()
        self.report.inputs_dropped += int((~read).sum())
        if not read.any():
            self.report.made_constant += names
            behind = [_writing_nothing(module) for module in betweens[-1]]  # all samples share the memory of a constant
            return [Constant(torch.from_numpy(stages[-1].offsets()).to(example), n_in), *behind]
        out: list[nn.Module] = []
        if not read.all():
            out.append(SelectFeatures(torch.from_numpy(np.flatnonzero(read)).to(example.device), n_in))
            stages[0].keep_inputs(read)
        for name, stage, between in zip(names, stages, betweens, strict=True):
            built = stage.build(self.dense_above)
            self.handled.append(id(built))
            if stage.is_sparse and isinstance(built, nn.Linear):
                self.report.made_dense.append(name)
            out += [built, *between]
        return out

    def _remove_unread(self, stages: Sequence[Stage], betweens: list[list[nn.Module]]) -> None:
        for index in range(len(stages) - 1, 0, -1):
            self._keep(stages, betweens, index, stages[index].reads())

    def _fold_constants(self, stages: Sequence[Stage], betweens: list[list[nn.Module]]) -> None:
        for index in range(1, len(stages)):
            fed = stages[index - 1].fed()
            if not fed.all():
                signal = signal_of(stages[index - 1], betweens[index - 1])
                stages[index].fold(~fed, signal)
                self.report.constants_folded += int((~fed).sum())
                self._keep(stages, betweens, index, fed)

    def _keep(self, stages: Sequence[Stage], betweens: list[list[nn.Module]], index: int, keep: BoolArray) -> None:
        """Keep some of the neurons between the stages ``index - 1`` and ``index``."""
        if not keep.all():
            self.report.neurons_removed += int((~keep).sum())
            stages[index - 1].keep_outputs(keep)
            betweens[index - 1] = kept_between(betweens[index - 1], keep)
            stages[index].keep_inputs(keep)


def _parted(run: Sequence[tuple[str, nn.Module]]) -> tuple[list[str], list[Stage], list[list[nn.Module]]]:
    """Return names and stages of the layers of a run, and what stands behind each."""
    names: list[str] = []
    stages: list[Stage] = []
    betweens: list[list[nn.Module]] = []
    for name, step in run:
        if isinstance(step, SparseLinear | nn.Linear):
            names.append(name)
            stages.append(stage_of(step))
            betweens.append([nn.ReLU()] if isinstance(step, SparseLinear) and step.relu else [])
        elif not isinstance(step, nn.Dropout | nn.Identity):
            betweens[-1].append(step)
    return names, stages, betweens


def _fits(run: Sequence[tuple[str, nn.Module]], step: nn.Module) -> bool:
    """Tell whether a step may stand behind a run: it has to read as many neurons as there are."""
    if isinstance(step, SparseLinear | nn.Linear):
        n_read = step.in_features
    elif isinstance(step, nn.BatchNorm1d):  # of inputs with three axes it normalises the second
        n_read = step.num_features
    else:
        return True
    last = next(module for _, module in reversed(run) if isinstance(module, SparseLinear | nn.Linear))
    return last.out_features == n_read


def _writing_nothing(module: nn.Module) -> nn.Module:
    """Return a per-neuron module that leaves its inputs as they are."""
    if not getattr(module, "inplace", False):
        return module
    apart = copy.deepcopy(module)
    apart.inplace = False  # type: ignore[assignment]
    return apart
