"""Time and memory of calls on a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from sparsecore.bench.gate import OK, disagreement, not_installed, skipped, wrong
from sparsecore.kernels.gpu.runtime import Runtime

__all__ = ["Contender", "Place", "entry", "raced"]

Entry = dict[str, Any]

#: Rounds in which contenders take turns, and most calls of a round.
ROUNDS, MOST_CALLS = 7, 200


@dataclass(frozen=True)
class Place:
    """Where contenders run.

    Attributes
    ----------
    device : device
        Of all tensors.
    runtime : Runtime
        Launches the engine's kernels.
    """

    device: torch.device
    runtime: Runtime

    @property
    def name(self) -> str:
        """Return the name of the GPU."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "none (dry run)"

    def sync(self) -> None:
        """Wait for all work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def milliseconds(self, call: Callable[[], object], n: int) -> float:
        """Return the mean time of `n` calls, by the GPU's own clock where there is one."""
        if self.device.type != "cuda":
            started = time.perf_counter()
            for _ in range(n):
                call()
            return (time.perf_counter() - started) * 1e3 / n
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(n):
            call()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / n

    def peak_bytes(self, call: Callable[[], object]) -> int | None:
        """Return the most bytes that `call` took beside what was there before; ``None`` without a GPU."""
        if self.device.type != "cuda":
            call()
            return None
        self.sync()
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        call()
        self.sync()
        return int(torch.cuda.max_memory_allocated(self.device) - before)


@dataclass(frozen=True)
class Contender:
    """Something to time.

    Attributes
    ----------
    call : callable
        Returns what `read` turns into the tensors to compare.
    tolerance : float
        Largest error, relative to the largest number.
    """

    call: Callable[[], Any]
    tolerance: float


def entry(name: str, product: str, status: str, **more: Any) -> Entry:
    """Return one line of a row."""
    return {"contender": name, "product": product, "status": status, **more}


def raced(
    place: Place,
    product: str,
    contenders: Mapping[str, Callable[[], Contender]],
    expected: Callable[[Any], torch.Tensor] | None,
    truth: torch.Tensor | None,
    seconds: float,
) -> list[Entry]:
    """Check all contenders, then time those that are right, in turns.

    Parameters
    ----------
    place : Place
        Where.
    product : str
        What is computed.
    contenders : mapping of str to callable
        Builds each; an `ImportError` or lack of memory is reported.
    expected : callable, optional
        Reads from a result the numbers to compare; nothing is compared when missing.
    truth : Tensor, optional
        What they have to be.
    seconds : float
        Time for each contender.
    """
    entries, ready = [], {}
    for name, build in contenders.items():
        try:
            made = build()
            peak = place.peak_bytes(made.call)
            what = None
            if expected is not None and truth is not None:
                what = disagreement(expected(made.call()).cpu(), truth.cpu(), made.tolerance)
        except ImportError as error:
            entries.append(entry(name, product, not_installed(error)))
        except torch.OutOfMemoryError:
            entries.append(entry(name, product, skipped("not enough memory")))
        except (RuntimeError, NotImplementedError) as error:
            entries.append(entry(name, product, skipped(f"refused: {str(error).splitlines()[0][:120]}")))
        else:
            if what is None:
                ready[name] = (made, peak)
            else:
                entries.append(entry(name, product, wrong(what)))
    return [*entries, *_timed(place, product, ready, seconds)]


def _timed(
    place: Place, product: str, ready: Mapping[str, tuple[Contender, int | None]], seconds: float
) -> list[Entry]:
    times: dict[str, list[float]] = {name: [] for name in ready}
    calls = {}
    for name, (made, _) in ready.items():
        once = place.milliseconds(made.call, 1)
        calls[name] = int(max(1, min(MOST_CALLS, seconds * 1e3 / ROUNDS / max(once, 1e-6))))
    for _ in range(ROUNDS):
        for name, (made, _) in ready.items():
            times[name].append(place.milliseconds(made.call, calls[name]))
    return [
        entry(name, product, OK, ms=median(times[name]), low_ms=min(times[name]), peak_bytes=peak)
        for name, (_, peak) in ready.items()
    ]
