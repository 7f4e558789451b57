"""Live progress of training runs: bars on a terminal, a line now and then anywhere else."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sparsecore.cli.screen import console as screen
from sparsecore.cli.screen import percent
from sparsecore.engine import EpochRecord, Summary, Trainer

__all__ = ["RunProgress", "Steps"]

_LINES = 10


class RunProgress:
    """Shows the epochs of one run or of several, one after the other; listens to a `Trainer`.

    Parameters
    ----------
    console : Console
        Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal or console.quiet,
        )
        self._name, self._epochs, self._next_line = "", 0, 0
        self._task: TaskID | None = None

    def __enter__(self) -> RunProgress:
        """Start drawing."""
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave the bars as they are."""
        self._bars.stop()

    def note(self, text: str) -> None:
        """Show a line that stays."""
        self._bars.console.print(text, markup=False)

    def begin(self, name: str, epochs: int, done: int = 0) -> None:
        """Show a new run of `epochs` epochs, `done` of which are over."""
        self._name, self._epochs, self._next_line = name, epochs, 1
        self._task = self._bars.add_task(name, total=epochs, completed=done, state="")

    def show(self, record: EpochRecord) -> None:
        """Show the latest epoch of the present run."""
        state = (
            f"loss {record.train_loss:.4f}  accuracy {percent(record.test_accuracy)}  "
            f"ANP {percent(record.anp, 0)}  {record.ms_per_step:.2f} ms/step"
        )
        if self._task is not None:
            self._bars.update(self._task, completed=record.epoch, state=state)
        if self._bars.disable and (record.epoch >= self._next_line or record.epoch == self._epochs):
            self._next_line = record.epoch + max(1, self._epochs // _LINES)
            left = record.elapsed_s / record.epoch * (self._epochs - record.epoch)
            self.note(
                f"{self._name:<8} epoch {record.epoch}/{self._epochs}  {state}  {record.elapsed_s:.0f} s, "
                f"{left:.0f} s left"
            )

    def on_start(self, trainer: Trainer) -> None:
        """Begin a bar."""
        self.begin("train", trainer.settings.epochs, trainer.epoch)

    def on_epoch(self, trainer: Trainer, record: EpochRecord) -> None:
        """Move the bar."""
        self.show(record)

    def on_end(self, trainer: Trainer, summary: Summary) -> None:
        """Leave the bar as it is."""


class Steps:
    """A bar with the time left over work of known parts; shown on a terminal alone, and gone when it ends.

    Parameters
    ----------
    what : str
        Shown before the bar.
    total : int
        Parts of the work.
    """

    def __init__(self, what: str, total: int) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=screen,
            transient=True,
            disable=not screen.is_terminal or screen.quiet,
        )
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Steps:
        """Start drawing."""
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the bar away."""
        self._bar.stop()

    def done(self) -> None:
        """Move on by one part."""
        self._bar.advance(self._task)
