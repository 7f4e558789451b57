"""Peak memory of one contender, measured in a fresh process: ``python -m sparsecore.bench.probe JSON``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

__all__ = ["main", "probe"]

TIMEOUT_S = 300


def probe(task: dict[str, Any]) -> dict[str, Any]:
    """Run one task in a process of its own and return what it measured, or a status that says why not."""
    command = [sys.executable, "-W", "ignore", "-m", "sparsecore.bench.probe", json.dumps(task)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=_environment())
    except subprocess.TimeoutExpired:
        return {"status": f"not measured: longer than {TIMEOUT_S} s"}
    if done.returncode:
        return {"status": f"not measured: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _environment() -> dict[str, str]:
    # Large blocks then go back to the system as soon as they are free: the peak is what lived, not what was cached.
    return os.environ | {
        "MALLOC_MMAP_THRESHOLD_": "131072",
        "MALLOC_TRIM_THRESHOLD_": "131072",
        "MALLOC_ARENA_MAX": "1",
    }


def main(argv: list[str] | None = None) -> int:
    """Run the task of the command line and print its result as one line of JSON."""
    from sparsecore.bench.gate import not_installed
    from sparsecore.bench.memory_tasks import run_task

    task = json.loads((sys.argv[1:] if argv is None else argv)[0])
    try:
        found = run_task(task)
    except ImportError as error:
        found = {"status": not_installed(error)}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
