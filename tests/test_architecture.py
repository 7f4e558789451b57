from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Each room may import the rooms named in its line, its own, and nothing else of the house.
BASE = {"errors", "_typing", "registry"}
KERNEL = BASE | {"storage", "kernels"}
PARTS = BASE | {"storage", "kernels", "schedules"}
RULES = PARTS | {"generators", "predictors", "removal", "selection"}
EVOLUTION = RULES | {"ops", "nn", "evolution"}
MAY_IMPORT = {
    **dict.fromkeys(BASE, BASE),
    "storage": BASE,
    "kernels": KERNEL,
    "ops": KERNEL,
    "schedules": BASE,
    **dict.fromkeys(("generators", "predictors", "removal"), PARTS),
    "selection": PARTS | {"predictors"},  # grows what a predictor scores
    "nn": KERNEL | {"ops", "generators"},  # a layer draws its first links
    "optim": KERNEL,
    "averaging": BASE | {"storage", "nn"},
    "evolution": EVOLUTION,
    "metrics": EVOLUTION,
    "distributed": EVOLUTION,
    "engine": EVOLUTION | {"metrics", "optim"},
    "io": EVOLUTION | {"metrics", "optim", "engine"},
    "planning": KERNEL | {"nn"},
    "report": EVOLUTION | {"metrics", "optim", "engine", "io"},
    "cli": EVOLUTION | {"metrics", "optim", "engine", "io", "report", "planning"},
    "integrations": EVOLUTION | {"distributed", "metrics", "optim", "engine", "io", "planning"},
}
FILES = sorted((ROOT / "sparsecore").rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    parts = path.relative_to(ROOT / "sparsecore").with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_lies_below_it(path: Path) -> None:
    if room(path) in ("__init__", "__main__"):
        return
    names = [name.split(".")[1] for name in imports(path) if name.startswith("sparsecore.")]
    rooms = {
        name for name in names if (ROOT / "sparsecore" / name).is_dir() or (ROOT / f"sparsecore/{name}.py").exists()
    }
    rooms |= {name for name in names if name in ("models", "bench")}
    assert rooms <= MAY_IMPORT[room(path)] | {room(path)}


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("numba", "kernels/cpu"),
        ("llvmlite", "kernels/cpu"),
        ("cupy", "kernels/gpu"),
        ("rich", "cli"),
        ("transformers", "integrations"),
        ("lightning", "integrations"),
    ],
)
def test_a_library_is_imported_by_one_room_alone(library: str, home: str) -> None:
    users = {path for path in FILES if any(name.split(".")[0] == library for name in imports(path))}
    assert all(path.is_relative_to(ROOT / "sparsecore" / home) for path in users)


def test_only_ops_defines_autograd_functions() -> None:
    users = [path for path in FILES if "autograd.Function" in path.read_text()]
    assert all(room(path) == "ops" for path in users)


def test_only_apply_changes_the_links_of_a_layer() -> None:
    users = {path.relative_to(ROOT / "sparsecore").as_posix() for path in FILES if ".adopt(" in path.read_text()}
    assert users <= {"evolution/apply.py", "nn/linear.py", "averaging.py"}  # of a copy that is not trained
