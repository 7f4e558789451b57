"""Runs the command line: ``python -m sparsecore``."""

from sparsecore.cli import main

if __name__ == "__main__":
    main()
