"""Where and with what a suite was measured, in one line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["hand_over", "machine_line", "percent", "picture", "shape_of", "table"]

Row = dict[str, Any]


def machine_line(suite: str, about: Row, rows: Iterable[Row]) -> str:
    """Return command, commit of the rows, processor and versions; peers that do not import with their reason."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    commits = sorted({str(row.get("commit")) for row in rows})
    left_out = [f"{name} ({report})" for name, report in about.get("peers", {}).items() if report != "ok"]
    absent = f" Left out: {'; '.join(left_out)}." if left_out else ""
    dirty = " (+: with uncommitted changes)" if any(commit.endswith("+") for commit in commits) else ""
    return (
        f"`python -m sparsecore.bench.run {suite}` at commit {', '.join(commits)}{dirty}; {about['cpu']}, "
        f"{about['vector']}, {about['cores']} cores; Python {about['python']}, {versions}.{absent}\n"
    )


def hand_over(row: Row) -> str:
    """Return the hand-over times around a row in words."""
    spans = [f"{value:.0f}" if value is not None else "–" for value in row.get("ping_pong_ns", [])]
    return f"hand-over {' / '.join(spans)} ns" if spans else ""


def percent(density: float) -> str:
    """Return a density as a percentage without trailing zeros."""
    return f"{density * 100:g}%"


def shape_of(row: Row) -> str:
    """Return the shape of a row, ``n_out x n_in``."""
    return f"{row['shape'][0]} x {row['shape'][1]}"


def picture(links: dict[str, str], name: str, what: str) -> list[str]:
    """Return the Markdown of a picture, nothing if it was not drawn."""
    return [f"![{what}]({links[name]})", ""] if name in links else []


def table(head: list[str], body: Iterable[list[str]]) -> list[str]:
    """Return a Markdown table and an empty line."""
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(cells)} |" for cells in body), ""]
