"""Files: checkpoints and run folders."""

from sparsecore.io.checkpoint import load, save
from sparsecore.io.run_folder import RunFolder

__all__ = ["RunFolder", "load", "save"]
