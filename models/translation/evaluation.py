"""How good translations are: loss per token, and BLEU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sparsecore.errors import ConfigError, DataError
from sparsecore.models.translation.batches import TokenBatches
from sparsecore.models.translation.beam import beam_search
from sparsecore.models.translation.loss import mean_loss
from sparsecore.models.translation.tokenizer import PAD, BytePairs
from sparsecore.models.translation.transformer import Transformer

__all__ = ["Bleu", "bleu", "token_loss", "translate"]


@dataclass(frozen=True)
class Bleu:
    """A BLEU score and how it was computed.

    Attributes
    ----------
    score : float
        From 0 to 100.
    signature : str
        sacrebleu's: tokenisation, smoothing, version.
    """

    score: float
    signature: str


def bleu(translations: Sequence[str], references: Sequence[str]) -> Bleu:
    """Return BLEU of a corpus with one reference per sentence, case counted.

    Raises
    ------
    DataError
        If there are not as many translations as references.
    ConfigError
        If the library is not installed.

    Notes
    -----
    Source: Papineni et al., "BLEU" (ACL 2002), as Post, "A call for clarity in reporting BLEU scores" (WMT 2018).
    """
    if len(translations) != len(references):
        raise DataError(f"Expected {len(references)} translations, one per reference. Got {len(translations)}.")
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise ConfigError(
            "Expected the library sacrebleu. Got an environment without it. "
            "Install it with: pip install 'sparsecore-engine[translation]'."
        ) from error
    metric = BLEU()
    score = float(metric.corpus_score(list(translations), [list(references)]).score)
    return Bleu(score, str(metric.get_signature()))


def translate(model: Transformer, tokenizer: BytePairs, sentences: Sequence[str], *, width: int = 2) -> list[str]:
    """Return the translations of sentences by beam search of `width`."""
    return tokenizer.decode(beam_search(model, tokenizer.encode(sentences), width=width))


@torch.no_grad()
def token_loss(model: Transformer, batches: TokenBatches) -> float:
    """Return the negative log-likelihood per target token, ends counted, in nats; its exponential is the perplexity."""
    training = model.training
    model.eval()
    total, n = 0.0, 0
    for batch in batches.in_order():
        counts = batch.target_out != PAD
        features = model(batch.source, batch.target_in)[counts]
        total += mean_loss(features, model.embedding.weight, batch.target_out[counts]) * len(features)
        n += len(features)
    model.train(training)
    return total / n
