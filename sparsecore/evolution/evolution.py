"""The object that evolves a model's links while it trains."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sparsecore.errors import CheckpointError, ConfigError, check_count
from sparsecore.evolution.apply import apply_edit, fresh_values
from sparsecore.evolution.circuits import found_circuits, require_optimizer, require_values, stated_circuits
from sparsecore.evolution.companion import Companion
from sparsecore.evolution.device_update import apply_on_device, runtime_for
from sparsecore.evolution.finite import require_finite
from sparsecore.evolution.foretell import foretell
from sparsecore.evolution.layer_state import LayerState, Restored
from sparsecore.evolution.on_device import DevicePlan, plan_on_device
from sparsecore.evolution.percolation import activity
from sparsecore.evolution.plan import LayerPlan, derive_seed, plan_model
from sparsecore.evolution.report import LayerReport, Report
from sparsecore.evolution.rule import Rule
from sparsecore.evolution.signals import Recorder
from sparsecore.nn import SparseLinear, sparse_layers
from sparsecore.predictors import Momentum
from sparsecore.storage import Topology

__all__ = ["Evolution"]

#: Plans an update in place of `Evolution.plan`, and returns what that returns.
Planner = Callable[["Evolution"], tuple[Sequence[LayerPlan | DevicePlan], float]]


class _Lock(contextlib.AbstractContextManager["_Lock", None]):
    """Held by one thread at a time, which may take it again; a copy of it is a free one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> _Lock:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Lock, ()


class Evolution:
    """Evolves the links of a model: call `step` once after every optimizer step.

    Parameters
    ----------
    model : Module
        Holds at least one `SparseLinear`.
    optimizer : Optimizer
        Trains the model's ``values``; its per-link state moves with the links.
    rule : Rule, optional
        What an update does; ``None`` never updates (a static topology).
    every : int
        Steps between updates (ΔT).
    steps : int, optional
        Updates happen strictly before this step; without end when missing.
    seed : int
        Same seed and same weights give the same links, on any number of threads.
    chains : sequence of sequence of SparseLinear, optional
        Layers that follow one another; what `find_structure` finds when missing. If the rule percolates, layers whose
        neighbours were not found are named in one warning of the log ``sparsecore.evolution``.

    Raises
    ------
    ConfigError
        If the model has no sparse layer, the optimizer does not hold the values of one that is trained or cannot follow
        links that move, `chains` holds a layer twice or one of another model, or a schedule of the rule leaves its
        range at the first or last update.

    Notes
    -----
    A layer whose values are not trained (``requires_grad`` is off) keeps its links, also while it is thawed and frozen
    again. At the first step the log says if no update falls into `steps`, if the last one leaves another density than
    the rule ends with, or if several processes train and nobody has called `sparsecore.distributed.share`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        rule: Rule | None,
        *,
        every: int,
        steps: int | None = None,
        seed: int = 0,
        chains: Sequence[Sequence[SparseLinear]] | None = None,
    ) -> None:
        self.every = check_count("every", every, "the number of steps between updates", low=1)
        self.steps = None if steps is None else check_count("steps", steps, "the number of training steps", low=1)
        self.seed = check_count("seed", seed, "the seed of all updates")
        self.rule = rule
        self._optimizer = optimizer
        names = {id(layer): name for name, layer in sparse_layers(model).items()}
        if not names:
            raise ConfigError("Expected a model with SparseLinear layers. Got none. Build one or call sparsify(model).")
        require_optimizer(optimizer, rule)
        require_values(sparse_layers(model), optimizer)
        percolates = rule is not None and rule.percolate
        circuits = found_circuits(model, warn=percolates) if chains is None else stated_circuits(model, chains)
        self._chains = [[LayerState(names[id(layer)], layer) for layer in circuit.layers] for circuit in circuits]
        self._circuits = circuits
        if rule is not None:
            self.rule = rule = self._from_first_links(rule, [state.n_start for state in self._states])
            rule.require_ranges(self.every, self.steps)
        self._step, self._updates, self._last_update_s = 0, 0, 0.0
        self._memory = rule.amount.start if rule is not None else 0.0
        self._planner: Planner | None = None
        self._lock = _Lock()
        if rule is not None and rule.companion is not None:
            self._accompany(rule.companion)
            self._call_companion(rule.companion)
        self._listen_if_needed()

    @property
    def _states(self) -> list[LayerState]:
        return [state for chain in self._chains for state in chain]

    def step(self) -> bool:
        """Count one training step and update the links when it is time.

        Returns
        -------
        bool
            Whether the links were updated.
        """
        self._count(1)
        due = self._due(self._step)
        try:
            if due:
                self.update()
        finally:
            self._listen_if_needed()
        return due

    def advance(self, steps: int) -> None:
        """Count training steps that lie before the next update, as a loop that takes many at once does.

        Raises
        ------
        ConfigError
            If an update is due among them, or the rule has to see one of them.
        """
        check_count("steps", steps, "the number of steps to count")
        free = self.free_steps
        if free is not None and steps > free:
            raise ConfigError(
                f"Expected at most {free} steps before those that the rule has to see. Got {steps}. Call step instead."
            )
        if steps >= (self.steps_to_update or steps + 1):
            raise ConfigError(f"Expected fewer than {self.steps_to_update} steps, the next update. Got {steps}.")
        self._count(steps)
        self._listen_if_needed()

    def _count(self, steps: int) -> None:
        if self._step == 0:
            self._begin()
        self._step += steps
        for state in self._states:
            state.link_steps += steps * state.layer.topology.n_links

    def _begin(self) -> None:
        """Take the links as they are at the first step: those of a model's state loaded since are its first ones."""
        n_start = [topology.n_links for topology in self.topologies]
        rule = self.rule and self._from_first_links(self.rule, n_start)
        for state, n_links in zip(self._states, n_start, strict=True):
            state.n_start = n_links
        self.rule = rule
        if self.rule is not None:
            shared = self._planner is not None
            foretell(self.rule, self.topologies, every=self.every, steps=self.steps, shared=shared)

    def _from_first_links(self, rule: Rule, n_start: Sequence[int]) -> Rule:
        """Return `rule` with the schedule of the density that begins with `n_start` links in every layer."""
        return rule.starting_at(sum(n_start) / max(1, sum(links.n_possible for links in self.topologies)))

    @property
    def steps_to_update(self) -> int | None:
        """Steps from now to the next update, at least 1; ``None`` if there is none left."""
        following = self._step - self._step % self.every + self.every
        return following - self._step if self._due(following) else None

    @property
    def free_steps(self) -> int | None:
        """Steps from now that may be taken without autograd, as nothing reads their gradients; ``None``: all."""
        if self.rule is None or self.rule.read_steps == 0:
            return None
        if self.rule.read_steps is None:
            return 0
        ahead = self.steps_to_update
        return None if ahead is None else max(0, ahead - self.rule.read_steps)

    def update(self) -> Sequence[LayerPlan | DevicePlan]:
        """Update the links of all layers now: plan for every chain, check, then apply.

        Returns
        -------
        sequence of LayerPlan or DevicePlan
            What was done to each layer, in the order of `report`.

        Raises
        ------
        SignalError
            If the rule reads a gradient that is not there; nothing has changed then.
        NonFiniteError
            If values, or gradients that the rule reads, are NaN or infinite; nothing has changed then.
        ConfigError
            If a layer has been thawed that the optimizer does not train; nothing has changed then.
        """
        if self.rule is None:
            return []
        require_values({state.name: state.layer for state in self._states}, self._optimizer)
        if self.rule.companion is not None:
            self._accompany(self.rule.companion)
        with self._lock:
            started = time.perf_counter()
            plans, self._memory = self.plan() if self._planner is None else self._planner(self)
            for index, (state, layer) in enumerate(zip(self._states, plans, strict=True)):
                self._apply(state, layer, index, self.rule)
            self._stop_early(self.rule)
            self._updates += 1
            self._last_update_s = time.perf_counter() - started
        return plans

    def hold(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which no other thread updates the links; an update waits until it is left.

        A thread that evaluates the model while another trains it needs this around its forward passes: without it, it
        may meet the new links of a layer with the old values. Optimizer steps do not wait, so that a pass may read
        values of two of them.

        Examples
        --------
        >>> from sparsecore.models import MLP
        >>> model = MLP(4, (8,), 2, density=0.5, seed=0)
        >>> evolution = Evolution(model, torch.optim.SGD(model.parameters(), lr=0.1), None, every=10)
        >>> with evolution.hold(), torch.no_grad():
        ...     model(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
        """
        return self._lock

    def plan(self, *, on_host: bool = False) -> tuple[Sequence[LayerPlan | DevicePlan], float]:
        """Plan the update that `update` would take now, changing nothing.

        Parameters
        ----------
        on_host : bool
            Plan on the host also what a GPU could plan.

        Returns
        -------
        plans : sequence of LayerPlan or DevicePlan
            One per layer.
        memory : float
            What the rule's amount hands on to the next update.
        """
        if self.rule is None:
            return [], self._memory
        seeds = [derive_seed(self.seed, self._updates, index) for index in range(len(self._chains))]
        joints = [None if circuit.is_chain else circuit.joints for circuit in self._circuits]
        runtime = None if on_host else runtime_for([state.layer for state in self._states], self.rule)
        if runtime is None:
            views = [[state.view(self.rule, self._optimizer) for state in chain] for chain in self._chains]
            for view in (view for chain in views for view in chain):
                require_finite(view, self.rule)
            plan = plan_model(views, self.rule, self._step, seeds, self._memory, joints)
            return [layer for chain in plan.chains for layer in chain], plan.memory
        there = [[state.view_on_device(self.rule) for state in chain] for chain in self._chains]
        for view_there in (view for chain in there for view in chain):
            require_finite(view_there, self.rule)
        return plan_on_device(runtime, there, self.rule, self._step, seeds, joints), self._memory

    def plan_by(self, planner: Planner) -> None:
        """Let `planner`, which may call `plan`, plan all updates from now on, as processes that train together do."""
        self._planner = planner

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer whose state moves with the links."""
        return self._optimizer

    @property
    def topologies(self) -> list[Topology]:
        """The present links of every layer, in the order of `report`."""
        return [state.layer.topology for state in self._states]

    @property
    def recorders(self) -> list[Recorder]:
        """What listens to every layer, in the order of `report`."""
        return [state.recorder for state in self._states]

    @property
    def steps_done(self) -> int:
        """Training steps counted so far."""
        return self._step

    def _apply(self, state: LayerState, plan: LayerPlan | DevicePlan, index: int, rule: Rule) -> None:
        state.overlap, state.grown = plan.overlap, len(plan.grown)
        if state.is_fixed:
            return
        if isinstance(plan, DevicePlan):
            seed = derive_seed(self.seed, self._updates, index, 2)
            state.history = apply_on_device(state.layer, plan.edit, self._optimizer, rule.fresh, state.history, seed)
        else:
            self._apply_on_host(state, plan, index, rule)

    def _stop_early(self, rule: Rule) -> None:
        """Freeze layers whose grown links had just been removed: each by itself, or all once all have come there."""
        if rule.early_stop is None:
            return
        for state in self._states:
            state.settled |= state.grown > 0 and state.overlap >= rule.early_stop
        if not rule.stop_together or all(state.settled or state.is_fixed for state in self._states):
            for state in self._states:
                state.frozen |= state.settled

    def _apply_on_host(self, state: LayerState, plan: LayerPlan, index: int, rule: Rule) -> None:
        edit, layer, companion = plan.edit, state.layer, rule.companion
        fresh_ids = edit.new.link_ids[edit.fresh]
        momentum = None
        if rule.fresh_momentum and isinstance(rule.predictor, Momentum):
            signals = state.recorder.signals()
            rows, cols = np.divmod(fresh_ids, edit.new.n_in)
            momentum = rule.predictor.signed(edit.old, rows, cols, signals=signals).astype(np.float32)
        if companion is not None and state.own is not None:
            companion.open(layer.values, state.own)
        held = state.history.values_of(fresh_ids) if rule.fresh == "history" else np.zeros(0, np.float32)
        state.history = state.history.after(edit, layer.values.detach().float().cpu().numpy())
        fresh = fresh_values(rule.fresh, edit, held, derive_seed(self.seed, self._updates, index, 2))
        apply_edit(layer, edit, self._optimizer, fresh, momentum)
        if companion is not None and state.own is not None:
            newborn = companion.newborn(fresh_ids, derive_seed(self.seed, index, 3))
            own = edit.remap(state.own)
            own[torch.from_numpy(edit.fresh).to(own.device)] = newborn.to(own)
            companion.close(layer.values, own)
            state.keep(own)

    def _accompany(self, companion: Companion) -> None:
        """Begin what the companion keeps of every layer that is trained and has nothing kept of its present links."""
        for state in self._states:
            if state.layer.values.requires_grad:
                state.accompany(companion)

    def _call_companion(self, companion: Companion) -> None:
        """Call the companion around every optimizer step; values that are not trained stay as they are."""

        def before(*_: Any) -> None:
            for state in self._states:
                if state.layer.values.requires_grad:
                    companion.before_step(state.layer.values, state.accompany(companion))

        def after(*_: Any) -> None:
            rates = {id(p): group["lr"] for group in self._optimizer.param_groups for p in group["params"]}
            for index, state in enumerate(self._states):
                values = state.layer.values
                if values.requires_grad and state.own is not None:
                    seed = derive_seed(self.seed, self._step, index, 4)
                    companion.after_step(values, state.own, float(rates[id(values)]), seed)

        self._optimizer.register_step_pre_hook(before)
        self._optimizer.register_step_post_hook(after)

    def _due(self, step: int) -> bool:
        return self.rule is not None and step % self.every == 0 and (self.steps is None or step < self.steps)

    def _listen_if_needed(self) -> None:
        if self.rule is None or "signals" not in self.rule.needs:
            return
        ahead, window = self.steps_to_update, self.rule.window_steps
        for state in self._states:
            if ahead is not None and ahead <= window:
                state.recorder.listen(self._step + 1, window)
            else:
                state.recorder.stop()

    def report(self) -> Report:
        """Return links, density, active neurons, ITOP and overlap of every layer."""
        layers: list[LayerReport] = []
        n_active = n_neurons = 0
        for chain, circuit in zip(self._chains, self._circuits, strict=True):
            found = activity([state.layer.topology for state in chain], circuit.joints)
            n_active, n_neurons = n_active + found.n_active, n_neurons + found.n_neurons
            for state, (below, above) in zip(chain, found.sides, strict=True):
                topology = state.layer.topology
                layers.append(
                    LayerReport(
                        name=state.name,
                        shape=topology.shape,
                        n_links=topology.n_links,
                        density=topology.density,
                        active_in=float(below.mean()),
                        active_out=float(above.mean()),
                        itop=state.history.explored(topology) / topology.n_possible,
                        overlap=state.overlap,
                        grown=state.grown,
                        frozen=state.frozen,
                        mean_density=self._mean_density(state),
                    )
                )
        return Report(layers, n_active / max(1, n_neurons), self._step, self._updates, self._last_update_s)

    def _mean_density(self, state: LayerState) -> float:
        topology = state.layer.topology
        if self._step == 0:
            return topology.density
        return state.link_steps / (self._step * max(1, topology.n_possible))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a copy; torch copies no hooks of an optimizer, so they are given to its copy anew."""
        self.__dict__.update(state)
        if self.rule is not None and self.rule.companion is not None:
            self._call_companion(self.rule.companion)

    def __str__(self) -> str:
        """Show the report as a table."""
        return str(self.report())

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs besides model and optimizer: counters, history, frozen layers."""
        layers = {state.name: state.content() for state in self._states}
        counters = {"step": self._step, "updates": self._updates, "seed": self.seed, "memory": self._memory}
        return {**counters, "layers": layers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`; call it after the model and optimizer states are loaded.

        Raises
        ------
        CheckpointError
            If the state belongs to other layers; nothing has changed then.
        ConfigError
            If the density that the method ends with is above that of the first links; nothing has changed then.
        """
        try:
            layers = state["layers"]
            names = [mine.name for mine in self._states]
            if sorted(layers) != sorted(names):
                raise CheckpointError(f"Expected evolution state of layers {sorted(names)}. Got {sorted(layers)}.")
            restored = [Restored(layers[mine.name], mine) for mine in self._states]
            step, updates, seed = int(state["step"]), int(state["updates"]), int(state["seed"])
            memory = float(state["memory"])
            rule = self.rule and self._from_first_links(self.rule, [mine.n_start for mine in restored])
        except (CheckpointError, ConfigError):
            raise
        except KeyError as error:
            raise CheckpointError(f"Expected the state of an evolution. Got one without {error}.") from error
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise CheckpointError(f"Expected the state of an evolution. Got another: {error}.") from error
        for mine, saved in zip(self._states, restored, strict=True):
            saved.give_to(mine)
        self._step, self._updates, self.seed, self._memory, self.rule = step, updates, seed, memory, rule
        self._listen_if_needed()
