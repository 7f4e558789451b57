"""Sentence pairs of Multi30k, read straight from its published files; nothing is downloaded and nothing is written."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sparsecore.errors import DataError

__all__ = ["Pairs", "load_multi30k"]

_FILES = {"train": "train", "valid": "val", "test": "test_2016_flickr"}


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations, line by line.

    Attributes
    ----------
    source, target : tuple of str
        As many of the one as of the other; without white space around.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse texts that do not fit each other."""
        if len(self.source) != len(self.target) or not self.source:
            raise DataError(
                f"Expected as many sentences as translations, at least one. Got {len(self.source)} and "
                f"{len(self.target)}. The files of the two languages must belong together."
            )

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.source)


def load_multi30k(folder: str | Path, *, source: str = "en", target: str = "de") -> Mapping[str, Pairs]:
    """Return the pairs of Multi30k, task 1: ``"train"`` (29,000), ``"valid"`` (1,014) and ``"test"`` (1,000, of 2016).

    Parameters
    ----------
    folder : path
        Holds ``multi30k/train.en.gz`` and so on, or is that folder itself.
    source, target : str
        Languages, ``"en"`` or ``"de"``.

    Raises
    ------
    DataError
        If a file is missing or damaged, or the two languages have different numbers of lines.

    Notes
    -----
    Source: Elliott et al., "Multi30K: Multilingual English-German image descriptions" (2016).
    """
    root = Path(folder)
    root = root / "multi30k" if (root / "multi30k").is_dir() else root
    return {
        part: Pairs(_lines(root / f"{stem}.{source}.gz"), _lines(root / f"{stem}.{target}.gz"))
        for part, stem in _FILES.items()
    }


def _lines(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise DataError(f"Expected the sentences in {path}. Got no such file. Give the folder that holds multi30k/.")
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return tuple(line.strip() for line in file)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"Expected gzipped UTF-8 text in {path}. Got: {error}. Copy the file again.") from error
