"""Names that a shell completes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sparsecore.registry import Entry

__all__ = ["completes"]


def completes(registry: Iterable[Entry], *others: str) -> Callable[[str], list[tuple[str, str]]]:
    """Return a completion of the names of registered parts, each with what it does, and of other words."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        known = [(entry.name, entry.summary) for entry in registry] + [(word, "") for word in others]
        return [(name, summary) for name, summary in known if name.startswith(incomplete)]

    return complete
