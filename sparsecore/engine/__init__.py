"""The training engine: a loop that measures itself, tells its listeners, and resumes to the bit."""

from sparsecore.engine.batches import Augmentation, epoch_order, epoch_words
from sparsecore.engine.events import Events, MeasureEvents
from sparsecore.engine.finite import POLICIES, FiniteSteps
from sparsecore.engine.memory import PeakMemory
from sparsecore.engine.records import EpochRecord, Summary, area_across_epochs
from sparsecore.engine.settings import Dataset, Settings
from sparsecore.engine.trainer import Trainer

__all__ = [
    "POLICIES",
    "Augmentation",
    "Dataset",
    "EpochRecord",
    "Events",
    "FiniteSteps",
    "MeasureEvents",
    "PeakMemory",
    "Settings",
    "Summary",
    "Trainer",
    "area_across_epochs",
    "epoch_order",
    "epoch_words",
]
