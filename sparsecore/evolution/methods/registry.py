"""The registry of methods: functions ``(model, optimizer, *, every, steps, ...) -> Evolution``."""

from __future__ import annotations

from sparsecore.evolution.evolution import Evolution
from sparsecore.registry import Registry

__all__ = ["methods"]

methods: Registry[Evolution] = Registry("method")
