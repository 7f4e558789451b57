"""Result files: one per suite, rows kept as long as what they depend on is the same."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

__all__ = ["Results", "read_rows"]

Row = dict[str, Any]


class Results:
    """The rows of one suite on disk.

    Parameters
    ----------
    path : Path
        The JSON file; written whole after every row.
    suite : str
        Its name.
    about : dict
        `machine` of this run. A row measured by the same sources, on the same processor, with the same versions and
        time budget is kept; any other is measured again.
    seconds : float
        Time budget per contender.
    again : bool
        Keep nothing.
    """

    def __init__(self, path: Path, suite: str, about: dict[str, Any], seconds: float, *, again: bool = False) -> None:
        self.path, self.suite, self.about = path, suite, about
        self.stamp = _stamp(about, seconds)
        before = [] if again else read_rows(path)
        self._kept = {_key(row["setting"]): row for row in before if row.get("stamp") == self.stamp}
        self.rows: list[Row] = []

    def kept(self, setting: dict[str, Any]) -> Row | None:
        """Return the row of an earlier run that still holds, if there is one."""
        return self._kept.get(_key(setting))

    def add(self, row: Row) -> None:
        """Append a row, stamped, and write the file; rows of an interrupted earlier run stay until they are due."""
        self.rows.append(row if row.get("stamp") == self.stamp else self._stamped(row))
        done = {_key(mine["setting"]) for mine in self.rows}
        later = [other for key, other in self._kept.items() if key not in done]
        text = json.dumps({"suite": self.suite, "machine": self.about, "rows": [*self.rows, *later]}, indent=1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(text + "\n")
        os.replace(part, self.path)

    def _stamped(self, row: Row) -> Row:
        return {"setting": row["setting"], "commit": self.about["commit"], "stamp": self.stamp, **row}


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a result file that have a setting; none if there is no file."""
    if not path.exists():
        return []
    rows: list[Row] = json.loads(path.read_text())["rows"]
    return [row for row in rows if "setting" in row]


def _key(setting: dict[str, Any]) -> str:
    return json.dumps(setting, sort_keys=True)


def _stamp(about: dict[str, Any], seconds: float) -> str:
    matters = [about[name] for name in ("cpu", "cores", "python", "versions", "source")]
    return hashlib.blake2b(json.dumps([matters, seconds], sort_keys=True).encode(), digest_size=8).hexdigest()
