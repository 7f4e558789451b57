"""Files: checkpoints, run folders, and exported models."""

from sparsecore.io.checkpoint import load, save
from sparsecore.io.export import Exported, export_model, load_exported
from sparsecore.io.run_folder import RunFolder

__all__ = ["Exported", "RunFolder", "export_model", "load", "load_exported", "save"]
