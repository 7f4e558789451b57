"""Selection: rigid or soft, of links to keep and of links to grow."""

from sparsecore.selection.protocol import Selection, get, names, register, registry
from sparsecore.selection.soft import Soft
from sparsecore.selection.top import Top

__all__ = ["Selection", "Soft", "Top", "get", "names", "register", "registry"]
