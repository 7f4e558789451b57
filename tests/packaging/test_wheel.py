from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("sparsecore", "models", "bench", "pyproject.toml", "setup.py", "README.md", "LICENSE", "CITATION.cff")
SOURCES += ("CONTRIBUTING.md", "MANIFEST.in", "constraints.txt")


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution built from a copy, so that nothing is left in the source tree."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", copy / "dist", copy, cwd=copy)
    (built,) = (copy / "dist").glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the unpacked source distribution, which therefore is complete."""
    home = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(home, filter="data")
    (source,) = home.iterdir()
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", home / "dist", source, cwd=home)
    (built,) = (home / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment that holds the wheel and borrows only its dependencies."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(home), "platbase": str(home)}))
    target = ("--python", home / "bin" / "python", "--no-deps", "--no-index", "--quiet")
    run(sys.executable, "-m", "pip", *target[:2], "install", *target[2:], wheel, cwd=home)
    # Dependencies come from the present environment, without what makes its own sparsecore importable.
    borrowed = tmp_path_factory.mktemp("dependencies")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "sparsecore" not in entry.name and entry.suffix != ".pth":
            (borrowed / entry.name).symlink_to(entry)
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    return home / "bin"


def test_the_source_distribution_holds_sources_and_no_scratch(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "constraints.txt"} <= names
    assert {"sparsecore/py.typed", "models/mlp.py", "bench/run.py"} <= names
    assert not any("__pycache__" in name or name.startswith(("tests/", "docs/", "bench/results/")) for name in names)


def test_metadata_name_licence_and_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        lines = archive.read(path).decode().split("\n\n")[0].splitlines()
    assert "License-Expression: MIT" in lines
    assert "Requires-Python: >=3.11" in lines
    assert "Classifier: Typing :: Typed" in lines


def test_the_wheel_holds_one_importable_name_its_types_and_its_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"sparsecore", next(top for top in tops if top.endswith(".dist-info"))}
    assert "sparsecore/py.typed" in names
    assert "sparsecore/models/mlp.py" in names
    assert "sparsecore/bench/__init__.py" in names
    assert any(name.endswith("LICENSE") for name in names)


def test_the_wheel_holds_every_source_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, prefix in (("sparsecore", ""), ("models", "sparsecore/"), ("bench", "sparsecore/")):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".cu", ".cuh", ".h"):
                assert prefix + path.relative_to(ROOT).as_posix() in names


def test_nothing_but_sparsecore_becomes_importable(installed: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util as u, json, sparsecore, sparsecore.models.mlp, sparsecore.bench\n"
        "print(json.dumps([sparsecore.__file__, [n for n in ('models', 'bench', 'tests', 'setup') if u.find_spec(n)]]))"
    )
    file, others = json.loads(run(installed / "python", "-c", code, cwd=tmp_path).stdout)
    assert Path(file).is_relative_to(installed.parent)
    assert others == []


def test_the_program_shows_its_help_and_trains_from_another_folder(installed: Path, tmp_path: Path) -> None:
    assert "train" in run(installed / "sparsecore", "--help", cwd=tmp_path).stdout
    command = shlex.split("train --data mnist_5k --hidden 784 --density 0.02 --epochs 1 --batch-size 500 --out run")
    assert "accuracy" in run(installed / "sparsecore", *command, cwd=tmp_path).stdout
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["epochs"] == 1
