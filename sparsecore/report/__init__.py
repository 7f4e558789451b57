"""Report: one self-contained HTML page about one training run, or about several that are compared."""

from sparsecore.report.page import write_report

__all__ = ["write_report"]
