"""The command line: plan, train, resume, inspect, report, export, bench, methods, demo, doctor."""

from __future__ import annotations

import sys

__all__ = ["main"]

#: Exit status when something that was given cannot be used; `sparsecore.cli.output.NO` is that of a plain no.
WRONG = 2


def main() -> None:
    """Run the command line of this process; errors of the user or the system end in one line and exit status 2."""
    from sparsecore.cli.app import app
    from sparsecore.cli.screen import errors
    from sparsecore.errors import SparseCoreError

    try:
        app(prog_name="sparsecore")
    except (SparseCoreError, OSError) as error:
        errors.print(f"error: {' '.join(str(error).split())}", style="red", markup=False, soft_wrap=True)
        sys.exit(WRONG)
