"""Text as blocks of token ids on disk: written once, read by memory mapping."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from sparsecore.errors import ConfigError, DataError, check_count

__all__ = ["TokenBlocks", "equal_batches", "make_tokenizer", "save_tokenizer", "write_tokens"]

#: Documents that are encoded at once, and from which a tokenizer is learned.
_AT_ONCE, _LEARNED_FROM = 256, 1_000

END = "</s>"


def make_tokenizer(choice: str, documents: Iterable[str]) -> Any:
    """Return a `PreTrainedTokenizerFast` with a mark for the end of a document.

    Parameters
    ----------
    choice : str
        A file ``tokenizer.json``, a folder that a tokenizer was saved in, or ``"bpe:SIZE"``: byte-pair encoding,
        learned from the first thousand documents.
    documents : iterable of str
        To learn from.

    Raises
    ------
    ConfigError
        If the choice is none of these.
    """
    import transformers

    fast: Any = transformers.PreTrainedTokenizerFast
    kind, _, size = choice.partition(":")
    if kind == "bpe":
        if not size.isdecimal():
            raise ConfigError(f"Expected a tokenizer such as bpe:8192. Got {choice!r}.")
        return fast(tokenizer_object=_learned(int(size), documents), eos_token=END, bos_token=END, pad_token=END)
    path = Path(choice)
    try:
        if path.is_file():
            made: Any = fast(tokenizer_file=str(path), eos_token=END, pad_token=END)
        elif path.is_dir():
            made = transformers.AutoTokenizer.from_pretrained(path)
        else:
            raise OSError("no such file or folder")
    except Exception as error:  # the library raises nothing more precise
        raise ConfigError(f"Expected a tokenizer.json, a folder, or bpe:SIZE. Got {choice!r}: {error}.") from error
    if made.eos_token_id is None:
        raise ConfigError(f"Expected a tokenizer with an end mark (eos_token). Got none in {choice!r}.")
    return made


def _learned(size: int, documents: Iterable[str]) -> Any:
    import tokenizers

    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    check_count("size", size, "the number of tokens of bpe:SIZE", low=len(alphabet) + 1)
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(islice(documents, _LEARNED_FROM), trainer)
    return made


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer in a folder; ``tokenizer.json`` appears there last, and whole."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    tokenizer.save_pretrained(part)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(part.iterdir(), key=lambda path: path.name == "tokenizer.json"):
        os.replace(path, folder / path.name)
    part.rmdir()


def write_tokens(path: Path, documents: Iterable[str], tokenizer: Any, enough: int | None = None) -> int:
    """Write the ids of documents, each with an end mark, one after the other; returns their number.

    The file appears whole or not at all. What the tokenizer cuts off, fills up or takes for a special mark by itself
    does not count here: documents are whole, and end marks are those between them.

    Parameters
    ----------
    path : path
        File to write.
    documents : iterable of str
        Read no further than they are needed.
    tokenizer : PreTrainedTokenizerFast
        With a mark for the end of a document.
    enough : int, optional
        Number of tokens behind which no further document is taken; all are when missing.
    """
    kind, total = _dtype(len(tokenizer)), 0
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        for ids in _encoded(documents, tokenizer):
            total += len(ids)
            file.write(np.asarray(ids, kind).tobytes())
            if enough is not None and total >= enough:
                break
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return total


def _encoded(documents: Iterable[str], tokenizer: Any) -> Iterator[list[int]]:
    library, end = _plain(tokenizer.backend_tokenizer), tokenizer.eos_token_id
    iterator = iter(documents)
    while group := list(islice(iterator, _AT_ONCE)):
        for found in library.encode_batch_fast(group, add_special_tokens=False):
            yield [*found.ids, end]


def _plain(library: Any) -> Any:
    """Return a copy that neither cuts nor fills up, and to which special marks are text."""
    import tokenizers

    copy = tokenizers.Tokenizer.from_str(library.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


def _dtype(n_tokens: int) -> np.dtype[Any]:
    return np.dtype("<u2" if n_tokens <= 2**16 else "<u4")


class TokenBlocks(Dataset[dict[str, torch.Tensor]]):
    """Sequences of equal length for a causal language model, int64, (context,); labels are the ids themselves.

    Parameters
    ----------
    path : path
        Written by `write_tokens`.
    n_tokens : int
        Size of the vocabulary.
    context : int
        Tokens of a sequence; what is left at the end is not used.
    most : int, optional
        Most sequences.

    Raises
    ------
    DataError
        If there is not one sequence.
    """

    def __init__(self, path: Path, n_tokens: int, context: int, most: int | None = None) -> None:
        ids = np.memmap(path, _dtype(n_tokens), mode="r") if path.stat().st_size else np.empty(0, np.int64)
        n_blocks = min(len(ids) // context, most or len(ids))
        if n_blocks == 0:
            raise DataError(
                f"Expected text of at least {context} tokens in {path}. Got {len(ids)}. Use more documents."
            )
        self.blocks = ids[: n_blocks * context].reshape(n_blocks, context)

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return one sequence, as a model takes it."""
        ids = torch.from_numpy(self.blocks[index].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


def equal_batches(n_blocks: int, batch: int, n_ranks: int) -> tuple[int, int]:
    """Return how many sequences fill equal batches on all ranks, and the size of these batches.

    Where batches are not equal, Accelerate repeats sequences, which would count twice in the mean. One process takes
    all, and its last batch may be smaller.

    Parameters
    ----------
    n_blocks : int
        Sequences there are.
    batch : int
        Most sequences of one rank at a time.
    n_ranks : int
        Processes.

    Raises
    ------
    DataError
        If there is not one sequence for every rank.

    Examples
    --------
    >>> equal_batches(1003, 64, 8), equal_batches(5, 64, 2), equal_batches(1003, 64, 1)
    ((512, 64), (4, 2), (1003, 64))
    """
    if n_ranks == 1:
        return n_blocks, batch
    if n_blocks < n_ranks:
        raise DataError(
            f"Expected a validation sequence for each of {n_ranks} processes. Got {n_blocks}. Use more documents, or "
            "fewer processes."
        )
    equal = min(batch, n_blocks // n_ranks)
    return n_blocks - n_blocks % (n_ranks * equal), equal
