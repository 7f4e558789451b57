"""One self-contained page about one run or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sparsecore import __version__
from sparsecore.errors import ConfigError
from sparsecore.report.content import Run, read_runs
from sparsecore.report.markup import Node, node, to_html
from sparsecore.report.sections import Section, comparison, curves, headline, run_sections, subtitle
from sparsecore.report.style import STYLE

__all__ = ["render", "write_report"]


def write_report(
    paths: Sequence[str | Path], out: str | Path | None = None, *, done: Callable[[], None] | None = None
) -> Path:
    """Write the page about the runs in some folders and return where it is.

    Parameters
    ----------
    paths : sequence of path
        Run folders, finished or not. Of several, the first is what the others are compared with.
    out : path, optional
        File to write. When missing: ``report.html`` in the folder of a single run, ``comparison.html`` in that of the
        first of several.
    done : callable, optional
        Called when a run has been measured and drawn.

    Returns
    -------
    Path

    Raises
    ------
    CheckpointError
        If a folder is not that of a run, or is damaged.
    ConfigError
        If a folder is named twice, its run has not finished an epoch, or the file cannot be written.

    Notes
    -----
    The page loads nothing: style, pictures and numbers are inside. Time and memory are linear in the links; what is
    drawn and what is searched for communities is bounded, and the page says what was left out. The same runs give the
    same page, byte by byte, for the same version of the libraries.
    """
    folders = [Path(path) for path in paths]
    runs = read_runs(folders)
    target = Path(out) if out is not None else folders[0] / ("report.html" if len(runs) == 1 else "comparison.html")
    content = render(runs, done)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Expected a file that can be written. Got {target}: {error.strerror}.") from error
    return target


def render(runs: Sequence[Run], done: Callable[[], None] | None = None) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    runs : sequence of Run
        At least one.
    done : callable, optional
        Called when a run has been measured and drawn.
    """
    alone = len(runs) == 1
    title = runs[0].name if alone else " · ".join(run.name for run in runs)
    under = subtitle(runs[0]) if alone else f"{len(runs)} runs, compared with {runs[0].name}"
    finished = done or _nothing
    links, parts = _one(runs[0], finished) if alone else _several(runs, finished)
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("link", rel="icon", href="data:,"),
        node("title", f"{title} – sparsecore report"),
        node("style", STYLE),
    )
    body = node(
        "body",
        node("header", node("h1", title), node("p", under)),
        node("nav", *(node("a", label, href=f"#{name}") for name, label in links), aria_label="Parts of this page"),
        node("main", *parts),
        node("footer", f"Written by sparsecore {__version__}. Definitions and sources: docs/measures.md."),
    )
    return "<!doctype html>\n" + to_html(node("html", head, body, lang="en")) + "\n"


def _one(run: Run, done: Callable[[], None]) -> tuple[list[tuple[str, str]], list[Node]]:
    """Return links and parts of the page about one run."""
    parts = [*curves([run]), *run_sections(run)]
    done()
    return _names(parts), [headline(run), *(part.draw() for part in parts)]


def _several(runs: Sequence[Run], done: Callable[[], None]) -> tuple[list[tuple[str, str]], list[Node]]:
    """Return links and parts of the page that compares runs; each run has a part of its own below."""
    shared = [*comparison(runs), *curves(runs)]
    links, nodes = _names(shared), [part.draw() for part in shared]
    for number, run in enumerate(runs, 1):
        inner = [part.draw(before=f"run-{number}-", level=3) for part in run_sections(run)]
        whole = Section(f"run-{number}", run.name, [node("p", subtitle(run), class_="about"), headline(run), *inner])
        nodes.append(whole.draw())
        links.append((whole.name, run.name))
        done()
    return links, nodes


def _nothing() -> None:
    """Be called where nobody listens."""


def _names(parts: Sequence[Section]) -> list[tuple[str, str]]:
    return [(part.name, part.name.capitalize()) for part in parts]
