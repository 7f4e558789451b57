"""``python -m sparsecore.models.pretrain OUT [options]``."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from sparsecore.errors import SparseCoreError
from sparsecore.models.options import add_options, check_resumed, from_options
from sparsecore.models.pretrain.recipe import LlamaRun
from sparsecore.models.pretrain.training import read_run, train

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Train, and show the validation perplexity; returns 0 if nothing failed."""
    options = _parser().parse_args(argv)
    try:
        run = _resumed(options) if options.resume else from_options(LlamaRun, options)
        result = train(run, options.out, resume=options.resume)
    except (SparseCoreError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    summary = result["summary"]
    sys.stdout.write(f"validation perplexity {summary['valid_perplexity']:.2f}, see {options.out / 'result.json'}\n")
    return 0


def _resumed(options: argparse.Namespace) -> LlamaRun:
    """Return the run of a folder, with its data where they are now."""
    check_resumed(LlamaRun, options)
    run = read_run(options.out)
    return run if options.data_dir is None else dataclasses.replace(run, data_dir=options.data_dir)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sparsecore.models.pretrain",
        description="Pre-train a LLaMA of links; with torchrun -m sparsecore.models.pretrain on several processes.",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on after the last checkpoint; takes --data-dir alone")
    add_options(parser, LlamaRun)
    return parser


if __name__ == "__main__":
    sys.exit(main())
