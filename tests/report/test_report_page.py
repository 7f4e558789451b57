from __future__ import annotations

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sparsecore.errors import CheckpointError, ConfigError
from sparsecore.io import RunFolder
from sparsecore.models import recipes
from sparsecore.report import write_report

SPARSE = recipes.ImageRun(
    data="mnist_5k", hidden=(300, 300), density=0.03, topology="er", epochs=4, batch_size=500, threads=1
)
#: Elements without an end.
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Elements of a page, checked to be nested well."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


def train(path: Path, **changes: object) -> Path:
    config = recipes.ImageRun.from_dict(SPARSE.as_dict() | changes)
    recipes.run(config, recipes.load_data(config), folder=recipes.create_folder(path, config, keep=4))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("report")
    return {
        "chts": train(root / "chts"),
        "set": train(root / "set", method="set", epochs=2),
        "dense": train(root / "dense", method="dense", hidden=(50,), epochs=1),
    }


@pytest.fixture(scope="module")
def single(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report([runs["chts"]], tmp_path_factory.mktemp("single") / "page.html").read_text()


@pytest.fixture(scope="module")
def several(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(list(runs.values()), tmp_path_factory.mktemp("several") / "page.html").read_text()


def test_a_page_loads_nothing(single: str, several: str) -> None:
    for text in (single, several):
        page = Page(text)
        addresses = [
            value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
        ]
        assert addresses
        assert all(address.startswith(("data:", "#")) for address in addresses)
        assert not re.search(r"https?://|@import|url\(", text)
        assert not page.all("script")


def test_a_page_about_one_run_has_all_its_parts(single: str) -> None:
    page = Page(single)
    parts = {"learning", "activity", "layers", "links", "degrees", "network", "paths", "settings"}
    assert parts <= set(page.ids)
    assert [entry["href"] for entry in page.all("a")] == [f"#{name}" for name in page.ids]
    assert len(page.ids) == len(set(page.ids))
    charts = [attributes for name, attributes in page.elements if name == "figure" and attributes["class"] == "chart"]
    assert len(charts) == 6 + 3 + 2 + 2  # curves, degrees of all and of two layers, communities and disk, paths
    maps = page.all("img")
    assert len(maps) == 2 * 5  # two layers: before, epochs 1 to 3, after
    assert [name for name, _ in page.elements].count("dl") == 1


def test_pictures_and_tables_say_what_they_show(several: str) -> None:
    page = Page(several)
    assert all(len(picture["alt"]) > 20 for picture in page.all("img"))
    shown = [picture for picture in page.all("svg") if picture.get("aria-hidden") != "true"]
    assert all(picture["role"] == "img" and len(picture["aria-label"]) > 20 for picture in shown)
    assert len(page.all("caption")) == len(page.all("table")) > 10
    assert page.all("html")[0]["lang"] == "en"
    assert any("width=device-width" in meta.get("content", "") for meta in page.all("meta"))


def test_figures_are_those_of_the_summary(single: str, runs: dict[str, Path]) -> None:
    summary = RunFolder(runs["chts"]).summary()
    assert summary is not None
    shown: dict[str, set[str]] = {}
    for entry in Page(single).all("data"):
        shown.setdefault(entry["data-field"], set()).add(entry["value"])
    assert {name for name, value in summary.items() if value is not None} == set(shown)
    for name, values in shown.items():
        assert {json.loads(value) for value in values} == {summary[name]}, name


def test_several_runs_are_compared_with_the_first(several: str, runs: dict[str, Path]) -> None:
    page = Page(several)
    text = " ".join(page.text)
    assert {"differences", "learning", "activity", "run-1", "run-2", "run-3", "run-2-degrees"} <= set(page.ids)
    assert "run-3-degrees" not in page.ids
    assert "This model is dense" in text
    assert all(words in text for words in ("run.method", "run.epochs", "Settings that differ"))
    first, second = (RunFolder(runs[name]).summary() for name in ("chts", "set"))
    assert first is not None
    assert second is not None
    difference = 100 * (second["accuracy_last"] - first["accuracy_last"])
    assert f"{difference:+.2f} points" in text


def test_the_same_run_gives_the_same_page(runs: dict[str, Path], single: str, tmp_path: Path) -> None:
    assert write_report([runs["chts"]], tmp_path / "again.html").read_text() == single


def test_the_page_lies_in_the_folder_unless_told_otherwise(runs: dict[str, Path]) -> None:
    assert write_report([runs["dense"]]) == runs["dense"] / "report.html"
    assert write_report([runs["dense"], runs["set"]]) == runs["dense"] / "comparison.html"


def test_a_run_that_has_not_ended_is_reported_at_its_last_checkpoint(runs: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(runs["set"], tmp_path / "stopped")
    for name in ("summary.json", "topology_after.safetensors"):
        (folder / name).unlink()
    page = Page(write_report([folder]).read_text())
    text = " ".join(page.text)
    assert "not ended yet" in text
    assert "after epoch 2" in text
    assert "peak_memory_bytes" in {entry["data-field"] for entry in page.all("data")}


def test_names_and_settings_are_escaped(runs: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(runs["dense"], tmp_path / "<b>&run")
    page = Page(write_report([folder]).read_text())
    assert "<b>&run" in page.text  # as text, not as an element: elements are nested well all the same


def test_the_network_survives_without_the_extra_metrics(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("igraph", "powerlaw"):
        monkeypatch.setitem(sys.modules, name, None)
    page = Page(write_report([runs["set"]], tmp_path / "page.html").read_text())
    text = " ".join(page.text)
    assert "No communities: Expected the package igraph" in text
    assert "sparsecore-engine[metrics]" in text
    assert "paths" in page.ids


def test_wrong_folders_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="run folder"):
        write_report([tmp_path])
    with pytest.raises(ConfigError, match="different runs"):
        write_report([runs["set"], runs["set"] / "." / ".." / "set"])
    empty = shutil.copytree(runs["set"], tmp_path / "empty")
    (empty / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match="at least one finished epoch"):
        write_report([empty])
    with pytest.raises(ConfigError, match="can be written"):
        write_report([runs["dense"]], runs["dense"] / "config.json" / "page.html")
