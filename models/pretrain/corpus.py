"""Documents to learn from: a packed text, or any data set of the Hugging Face `datasets` library."""

from __future__ import annotations

import lzma
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sparsecore.errors import ConfigError, DataError
from sparsecore.models.pretrain.recipe import LlamaRun

__all__ = ["MARK", "documents"]

#: Line between the documents of a packed text.
MARK = "<|doc|>"

#: Names of the validation part of a data set, the first that is there.
_VALID = ("validation", "valid", "test")


def documents(run: LlamaRun, part: str) -> Iterator[str]:
    """Return the documents of ``"train"`` or ``"valid"``, in their order.

    Parameters
    ----------
    run : LlamaRun
        Says which data, which column, and how many documents.
    part : str
        ``"train"`` or ``"valid"``. Where a data set has no validation part, its first ``run.valid_documents``.

    Raises
    ------
    DataError
        If files are missing or damaged, or there is no such column.
    ConfigError
        If the `datasets` library is needed and not installed.
    """
    found = _packed(_text(run, part)) if run.data == "techdocs" else _rows(run, part)
    return islice(found, run.documents) if part == "train" else found


def _text(run: LlamaRun, part: str) -> Path:
    folder = run.data_dir or os.environ.get("SPARSECORE_DATA")
    if folder is None:
        raise DataError("Expected the folder that holds text/. Got none. Give --data-dir, or set SPARSECORE_DATA.")
    root = Path(folder)
    path = (root / "text" if (root / "text").is_dir() else root) / f"techdocs.{part}.txt.xz"
    if not path.is_file():
        raise DataError(f"Expected a text in {path}. Got no such file. Give the folder that holds text/.")
    return path


def _packed(path: Path) -> Iterator[str]:
    lines: list[str] = []
    try:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                if line.strip() != MARK:
                    lines.append(line)
                    continue
                if lines:
                    yield "".join(lines)
                lines = []
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataError(f"Expected packed UTF-8 text in {path}. Got: {error}. Copy the file again.") from error
    if lines:
        yield "".join(lines)


def _rows(run: LlamaRun, part: str) -> Iterator[str]:
    parts = _parts(run)
    valid = next((name for name in _VALID if name in parts), None)
    first = 0
    if part == "train":
        first = run.valid_documents if valid is None else 0
        rows = parts["train"]
    else:
        rows = parts["train"] if valid is None else parts[valid]
        rows = islice(rows, run.valid_documents)
    for row in islice(rows, first, None):
        if run.column not in row:
            raise DataError(f"Expected a column {run.column!r} in {run.data}. Got {sorted(row)}. Give --column.")
        if row[run.column] is not None:
            yield row[run.column]


def _parts(run: LlamaRun) -> dict[str, Any]:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f"Expected the library datasets, to read {run.data}. Got none. Install sparsecore-engine[datasets]."
        ) from error
    kind, _, rest = run.data.partition(":")
    try:
        if kind == "hf":
            name, _, subset = rest.partition(":")
            found = datasets.load_dataset(name, subset or None, streaming=True)
        else:
            found = datasets.load_from_disk(run.data)
    except (OSError, ValueError) as error:
        raise DataError(
            f"Expected techdocs, a folder of datasets.save_to_disk, or hf:NAME. Got {run.data!r}: {error}."
        ) from error
    parts = dict(found) if hasattr(found, "keys") else {"train": found}
    if "train" not in parts:
        raise DataError(f"Expected a part called train in {run.data}. Got {sorted(parts)}.")
    return parts
