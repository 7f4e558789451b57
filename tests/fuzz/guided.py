"""Fuzzing led by coverage: atheris drives the tests of this folder, one process each.

    python tests/fuzz/guided.py --seconds 60

Hypothesis turns the bytes of atheris into its examples, so that one set of tests serves both. ``make fuzz`` installs
atheris. Ends with status 1 if a test failed; what was fed is printed by hypothesis.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Where coverage is watched; not in kernels, whose code numba reads.
ROOMS = ("cli", "engine", "errors", "evolution", "io", "models", "nn", "registry", "schedules", "storage")
MODULES = ("test_fuzz_files", "test_fuzz_parts")


def targets(module):
    """Return the names of tests that hypothesis feeds and that need nothing of pytest."""
    tests = vars(importlib.import_module(module)).items()
    fed = [(name, test.hypothesis.inner_test.__code__) for name, test in tests if hasattr(test, "hypothesis")]
    return [name for name, code in fed if "tmp_path_factory" not in code.co_varnames]


def watched():
    """Yield the functions whose coverage leads, methods among them."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "sparsecore" and name.split(".")[1:2] and name.split(".")[1] in ROOMS:
            holders = [module, *(part for part in vars(module).values() if inspect.isclass(part))]
            parts = [part for holder in holders for part in vars(holder).values()]
            yield from {part for part in parts if inspect.isfunction(part) and part.__module__ == name}


def one(module, name, seconds):
    import atheris

    test = getattr(importlib.import_module(module), name)
    for function in watched():
        atheris.instrument_func(function)
    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=4096", "-timeout=60", "-len_control=0", "-max_len=2048"]
    atheris.Setup([sys.argv[0], *limits], test.hypothesis.fuzz_one_input)
    atheris.Fuzz()


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="time for each test")
    parser.add_argument("--one", nargs=2, metavar=("MODULE", "TEST"))
    chosen = parser.parse_args()
    sys.path.insert(0, str(HERE))
    if chosen.one:
        one(*chosen.one, chosen.seconds)
        return
    failed, inputs = [], 0
    for module in MODULES:
        for name in targets(module):
            command = [sys.executable, __file__, "--seconds", str(chosen.seconds), "--one", module, name]
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, "HYPOTHESIS_PROFILE": "fresh"}
            )
            counts = re.findall(r"Done (\d+) runs", done.stderr)
            inputs += int(counts[-1]) if counts else 0
            sys.stderr.write(f"{name}: {counts[-1] if counts else 'failed'}\n")
            if done.returncode:
                failed.append(name)
                sys.stderr.write(done.stdout[-3000:] + done.stderr[-3000:])
    sys.stderr.write(f"{inputs} inputs, {len(failed)} tests failed {failed}\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
