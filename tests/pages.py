"""The project's pages and the code on them."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

__all__ = ["BLOCK", "PAGES", "ROOT", "code_of", "needs"]

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def code_of(page: Path) -> str:
    """Return all Python blocks of a page, from top to bottom."""
    return "\n".join(BLOCK.findall(page.read_text(encoding="utf-8")))


def needs(code: str) -> str | None:
    """Return what is missing to run some code here: a library that it imports, or the data folder it names."""
    for node in ast.walk(ast.parse(code)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in (name.split(".")[0] for name in names):
            if importlib.util.find_spec(name) is None:
                return f"{name} is not installed"
    return None
