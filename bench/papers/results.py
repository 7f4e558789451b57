"""Result files: one run, one JSON file, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsecore.errors import DataError

__all__ = ["Results", "write_whole"]


class Results:
    """The folder of the results.

    Parameters
    ----------
    folder : Path
        Made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, tuple[int, dict[str, Any]]] = {}

    def path(self, key: str) -> Path:
        """Return the file of a cell."""
        return self.folder / f"{key}.json"

    def read(self, key: str) -> dict[str, Any] | None:
        """Return a result, or ``None`` if there is none.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        path = self.path(key)
        try:
            changed = path.stat().st_mtime_ns
            if key not in self._read or self._read[key][0] != changed:
                content = json.loads(path.read_text(encoding="utf-8"))
                if not isinstance(content, dict) or "setting" not in content:
                    raise ValueError("it has no setting")
                self._read[key] = changed, content
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DataError(f"Expected the result of a run in {path}. Got: {error}. Remove it.") from error
        return self._read[key][1]

    def write(self, key: str, content: Mapping[str, Any]) -> None:
        """Write a result, one line per field."""
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()]
        write_whole(self.path(key), "{\n" + ",\n".join(lines) + "\n}\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file; at every instant it is the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
