"""Where the time of an update goes, measured inside the update itself."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["UPDATE_STAGES", "timed_stages"]

#: Stage to the functions that make it up, as ``module:attribute`` or ``module:class.method``, where they are looked up.
UPDATE_STAGES: dict[str, tuple[str, ...]] = {
    "removal": ("sparsecore.removal:Magnitude.importance", "sparsecore.selection:Soft.keep"),
    "percolation": ("sparsecore.evolution.plan:percolate",),
    "regrowth": ("sparsecore.selection:Soft.grow",),
    "edit": ("sparsecore.storage:TopologyEdit.plan",),
    "history": ("sparsecore.evolution.history:History.after", "sparsecore.evolution.history:History.values_of"),
    "apply": ("sparsecore.evolution.evolution:apply_edit",),
}


@contextlib.contextmanager
def timed_stages(stages: Mapping[str, tuple[str, ...]] = UPDATE_STAGES) -> Iterator[dict[str, float]]:
    """Add up the seconds spent in each stage while the block runs.

    Functions are wrapped where they are looked up and put back at the end. One that is not there (another version of
    the engine) is left out, and its time shows as time of no stage. A stage inside another counts for the outer one
    alone.
    """
    seconds = dict.fromkeys(stages, 0.0)
    depth = [0]

    def wrapped(stage: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            depth[0] += 1
            started = time.perf_counter()
            try:
                return inner(*args, **options)
            finally:
                depth[0] -= 1
                if depth[0] == 0:
                    seconds[stage] += time.perf_counter() - started

        return call

    with contextlib.ExitStack() as undo:
        for stage, places in stages.items():
            for place in places:
                owner, name = _owner(place)
                if owner is None or name not in vars(owner):
                    continue
                before = vars(owner)[name]
                kind = type(before) if isinstance(before, classmethod | staticmethod) else None
                inner = before if kind is None else before.__func__
                made = wrapped(stage, inner)
                setattr(owner, name, made if kind is None else kind(made))
                undo.callback(setattr, owner, name, before)
        yield seconds


def _owner(place: str) -> tuple[Any, str]:
    module, _, path = place.partition(":")
    *parents, name = path.split(".")
    try:
        owner: Any = importlib.import_module(module)
        for parent in parents:
            owner = getattr(owner, parent)
    except (ImportError, AttributeError):
        return None, name
    return owner, name
