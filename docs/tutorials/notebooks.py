"""Write a Jupyter notebook next to every tutorial: `python docs/tutorials/notebooks.py`.

The Markdown page is the source: its Python blocks become cells, what lies between becomes text. A test compares both.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "index.md")
BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
INLINE = 'import matplotlib\n\nmatplotlib.use("Agg")  # leave this out in a notebook\n'


def notebook(page: str) -> str:
    """Return the notebook of a page as JSON (nbformat 4.5), without outputs."""
    cells = []
    for number, part in enumerate(BLOCK.split(page)):
        text = part.replace(INLINE, "").strip()
        if text:
            code = {"cell_type": "code", "execution_count": None, "outputs": []}
            cell = code if number % 2 else {"cell_type": "markdown"}
            cells.append({**cell, "id": f"part-{number}", "metadata": {}, "source": text.splitlines(keepends=True)})
    about = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    content = {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in PAGES:
        path.with_suffix(".ipynb").write_text(notebook(path.read_text(encoding="utf-8")), encoding="utf-8")
