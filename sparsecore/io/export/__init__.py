"""Trained models as files that other programs read, and back as modules for inference."""

from sparsecore.io.export.export import FORMATS, Exported, export_model, load_exported

__all__ = ["FORMATS", "Exported", "export_model", "load_exported"]
