"""The correctness gate: a contender whose numbers differ is reported and never timed."""

from __future__ import annotations

import torch

__all__ = ["F32", "LOW_PRECISION", "OK", "disagreement", "is_wrong", "not_installed", "skipped", "wrong"]

#: Largest error, relative to the largest expected number, of float32 and of bfloat16 contenders.
F32, LOW_PRECISION = 1e-4, 3e-2

OK = "ok"


def disagreement(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = F32) -> str | None:
    """Return ``None`` where `actual` equals `expected` within `tolerance`, else what is wrong in a few words."""
    if actual.shape != expected.shape:
        return f"shape {tuple(actual.shape)} where {tuple(expected.shape)} was expected"
    if expected.numel() == 0:
        return None
    scale = max(float(expected.double().abs().max()), 1e-30)
    error = float((actual.double() - expected.double()).abs().max()) / scale
    return None if error <= tolerance else f"off by {error:.2g} of the largest number"


def wrong(what: str) -> str:
    """Return the status of a contender that failed the gate."""
    return f"wrong result: {what}"


def not_installed(error: ImportError) -> str:
    """Return the status of a peer that does not import."""
    return f"does not import: {error}"


def skipped(why: str) -> str:
    """Return the status of a contender that was left out on purpose."""
    return f"not measured: {why}"


def is_wrong(status: str) -> bool:
    """Tell whether a status is that of a failed gate."""
    return status.startswith("wrong result")
