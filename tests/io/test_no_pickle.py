"""Nothing that is read from disk can run code: no source loads a pickle."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for room in ("sparsecore", "models") for path in (ROOT / room).rglob("*.py"))
#: Calls that read pickles, or may.
UNSAFE = {"torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "np.lib.format.read_array", "joblib.load"}
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def faults(source):
    """Return what in `source` could load a pickle."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if (node.module or "").split(".")[0] in MODULES else []
        elif isinstance(node, ast.Call):
            found += [ast.unparse(node.func)] if ast.unparse(node.func) in UNSAFE else []
            found += [
                "allow_pickle" for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"
            ]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_loads_a_pickle(path):
    assert not faults(path.read_text())


@pytest.mark.parametrize(
    "source", ["import pickle", "from dill import x", "torch.load(f)", "np.load(f, allow_pickle=True)"]
)
def test_a_source_that_would_is_noticed(source):
    assert faults(source)
