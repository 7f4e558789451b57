"""Byte-pair encoding learned from the training sentences of both languages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sparsecore.errors import ConfigError, DataError, check_count

__all__ = ["BOS", "EOS", "PAD", "BytePairs"]

#: Ids of the three marks: padding, beginning and end of a sentence.
PAD, BOS, EOS = 0, 1, 2

_MARKS = ["<pad>", "<s>", "</s>"]


class BytePairs:
    """Turns sentences into ids and back; one vocabulary for both languages.

    Bytes are the alphabet, so that no sentence holds anything unknown, and `decode` gives back what `encode` took but
    for white space around it.

    Parameters
    ----------
    text : str
        What `to_json` gave.

    Notes
    -----
    A joint vocabulary lets the embeddings of both languages and the output layer share one table: a third of the dense
    weights, and names, numbers and common stems are learned once. Source: Sennrich et al., "Neural machine translation
    of rare words with subword units" (ACL 2016).
    """

    def __init__(self, text: str) -> None:
        try:
            self._tokenizer = _library().Tokenizer.from_str(text)
        except ConfigError:
            raise
        except Exception as error:  # the library raises nothing more precise
            raise DataError(f"Expected a tokenizer as JSON. Got: {error}. Train one with BytePairs.train.") from error

    @classmethod
    def train(cls, sentences: Iterable[str], n_tokens: int) -> BytePairs:
        """Learn a vocabulary of `n_tokens` tokens, marks and 256 bytes included; the same text gives the same one.

        Raises
        ------
        ConfigError
            If `n_tokens` leaves no room for bytes and marks, or the library is not installed.
        """
        check_count("n_tokens", n_tokens, "the size of the vocabulary", low=256 + len(_MARKS))
        library = _library()
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=n_tokens,
            special_tokens=_MARKS,
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(sentences, trainer)
        return cls(tokenizer.to_str())

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Return the ids of every sentence, without marks."""
        return [list(found.ids) for found in self._tokenizer.encode_batch(list(sentences), add_special_tokens=False)]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the sentences of lists of ids; marks are left out."""
        return [text.strip() for text in self._tokenizer.decode_batch([list(row) for row in ids])]

    def to_json(self) -> str:
        """Return everything as text."""
        return str(self._tokenizer.to_str())


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ConfigError(
            "Expected the library tokenizers. Got an environment without it. "
            "Install it with: pip install 'sparsecore-engine[translation]'."
        ) from error
    return tokenizers
