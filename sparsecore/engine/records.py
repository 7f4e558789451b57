"""What a training run tells: one record per epoch and a summary at its end."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparsecore.errors import CheckpointError, ConfigError, check_types
from sparsecore.metrics.training import area_across_epochs

__all__ = ["EpochRecord", "Summary", "area_across_epochs", "summarize"]


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. Accuracy and network are those after its last optimizer step, before the update that may follow.

    Attributes
    ----------
    epoch : int
        Which epoch, from 1.
    step : int
        Optimizer steps since the start.
    train_loss : float
        Mean loss over the samples of the epoch, each taken when it was trained on.
    test_accuracy : float
        Fraction of test samples classified correctly.
    valid_accuracy : float, optional
        The same on held-out training samples.
    lr : float
        Learning rate of the last step.
    links : int
        Links of the sparse layers, or weights of the dense ones they stand for.
    density : float
        Links over possible links.
    densities : tuple of float
        The same per layer.
    anp : float
        Active neurons over all neurons, inputs counted in.
    itop : float
        Fraction of possible links that existed at any time so far.
    overlap : float
        Share of the links grown by the latest update that the same update had removed.
    updates : int
        Updates of the links so far.
    ms_per_step : float
        Milliseconds per training step: evolution and evaluation not counted.
    evolution_ms : float
        Milliseconds spent on evolution in this epoch, the update at its end included.
    elapsed_s : float
        Seconds of training so far, all parts counted, over all sessions of the run.
    mean_density : float, optional
        Mean density over all steps so far, layers weighted by possible links: cost of the links over dense cost.
    """

    epoch: int
    step: int
    train_loss: float
    test_accuracy: float
    valid_accuracy: float | None
    lr: float
    links: int
    density: float
    densities: tuple[float, ...]
    anp: float
    itop: float
    overlap: float
    updates: int
    ms_per_step: float
    evolution_ms: float
    elapsed_s: float
    mean_density: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return {**dataclasses.asdict(self), "densities": list(self.densities)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EpochRecord:
        """Return the record that `as_dict` gave.

        Raises
        ------
        CheckpointError
            If fields are missing, unknown or of another type.
        """
        try:
            record = cls(**{**values, "densities": tuple(values["densities"])})
            check_types(record)
        except (TypeError, KeyError, ConfigError) as error:
            got = sorted(map(str, values)) if isinstance(values, dict) else values
            raise CheckpointError(f"Expected the record of an epoch. Got {got}: {error}") from error
        return record


@dataclass(frozen=True)
class Summary:
    """A finished run.

    Attributes
    ----------
    epochs, steps, updates : int
        How long it was.
    accuracy_last : float
        Test accuracy after the last epoch: the figure to report.
    accuracy_best_on_test : float
        Highest test accuracy of any epoch. Chosen by the test set itself, so it flatters; often what is published.
    accuracy_at_best_valid : float, optional
        Test accuracy of the epoch with the highest held-out accuracy, when samples were held out.
    aae : float
        Area under the test accuracy across epochs, 1 is the most.
    links, density, anp, itop, overlap
        As in the last `EpochRecord`.
    ms_per_step : float
        Median over epochs.
    ms_per_update : float
        Evolution time over number of updates.
    wall_s : float
        Seconds of training, evaluation and evolution.
    weight_bytes, index_bytes, state_bytes : int
        Parameters of the model, index lists of its links, optimizer state.
    peak_memory_bytes : int, optional
        Highest resident memory, net of libraries and data.
    mean_density : float, optional
        As in the last `EpochRecord`; runs are compared at equal cost if it is equal.
    """

    epochs: int
    steps: int
    updates: int
    accuracy_last: float
    accuracy_best_on_test: float
    accuracy_at_best_valid: float | None
    aae: float
    links: int
    density: float
    anp: float
    itop: float
    overlap: float
    ms_per_step: float
    ms_per_update: float
    wall_s: float
    weight_bytes: int
    index_bytes: int
    state_bytes: int
    peak_memory_bytes: int | None = None
    mean_density: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return dataclasses.asdict(self)


def summarize(records: Sequence[EpochRecord], *, weight_bytes: int, index_bytes: int, state_bytes: int) -> Summary:
    """Return the summary of a run from the records of its epochs, at least one."""
    last = records[-1]
    accuracies = [record.test_accuracy for record in records]
    valid = [(record.valid_accuracy, record.test_accuracy) for record in records if record.valid_accuracy is not None]
    return Summary(
        epochs=last.epoch,
        steps=last.step,
        updates=last.updates,
        accuracy_last=last.test_accuracy,
        accuracy_best_on_test=max(accuracies),
        accuracy_at_best_valid=max(valid, key=lambda pair: pair[0])[1] if valid else None,
        aae=area_across_epochs(accuracies),
        links=last.links,
        density=last.density,
        anp=last.anp,
        itop=last.itop,
        overlap=last.overlap,
        ms_per_step=statistics.median(record.ms_per_step for record in records),
        ms_per_update=sum(record.evolution_ms for record in records) / max(1, last.updates),
        wall_s=last.elapsed_s,
        weight_bytes=weight_bytes,
        index_bytes=index_bytes,
        state_bytes=state_bytes,
        mean_density=last.mean_density,
    )
