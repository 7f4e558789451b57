"""``python -m sparsecore.models.cnn OUT [options]``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sparsecore.engine import EpochRecord, Summary, Trainer
from sparsecore.errors import SparseCoreError
from sparsecore.models.cnn.recipe import CnnRun, load_data, resume, train
from sparsecore.models.options import add_options, check_resumed, from_options

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Train and show the test accuracy; returns 0 if nothing failed."""
    options = _parser().parse_args(argv)
    options.data_dir = options.data_dir or os.environ.get("SPARSECORE_DATA")
    try:
        if options.resume:
            check_resumed(CnnRun, options)
            resume(options.out, options.data_dir, events=[_Lines()])
        else:
            run = from_options(CnnRun, options)
            train(run, load_data(run), options.out, events=[_Lines()])
    except SparseCoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


class _Lines:
    """Writes a line per epoch."""

    def on_start(self, trainer: Trainer) -> None:
        """Write nothing."""

    def on_epoch(self, trainer: Trainer, record: EpochRecord) -> None:
        """Write loss, accuracy and links of the epoch."""
        sys.stdout.write(
            f"epoch {record.epoch:3}  loss {record.train_loss:.4f}  test accuracy {100 * record.test_accuracy:.2f}%  "
            f"{record.links:,} links in the head  {record.elapsed_s:.0f} s\n"
        )
        sys.stdout.flush()

    def on_end(self, trainer: Trainer, summary: Summary) -> None:
        """Write the last accuracy."""
        sys.stdout.write(f"test accuracy {100 * summary.accuracy_last:.2f}% after the last epoch\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sparsecore.models.cnn", description="Train a convolutional network with a head of links."
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on after the last epoch; takes --data-dir alone")
    add_options(parser, CnnRun)
    return parser


if __name__ == "__main__":
    sys.exit(main())
