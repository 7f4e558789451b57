"""Cross-entropy with label smoothing over a large vocabulary, some positions at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional

from sparsecore.errors import check_fraction

__all__ = ["add_gradients", "mean_loss"]

#: Positions whose scores exist at one time. All at once would be the largest tensors of a step by far.
_ROWS = 256


def mean_loss(features: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0) -> float:
    """Return the mean loss of the scores ``features @ weight.T``.

    Parameters
    ----------
    features : Tensor, float, (n, width)
        One row per token to predict.
    weight : Tensor, float, (n_tokens, width)
        Table of the output layer.
    targets : Tensor, int64, (n,)
        The right tokens.
    smoothing : float
        Share of the target that all tokens have in common; 0 gives the negative log-likelihood.

    Raises
    ------
    ConfigError
        If `smoothing` is not a fraction.
    """
    check_fraction("smoothing", smoothing, "the share of the target that all tokens have in common")
    total = sum(float(loss) for loss, *_ in _parts(features.detach(), weight.detach(), targets, smoothing))
    return total / len(targets)


def add_gradients(features: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0) -> float:
    """Add the gradients of `mean_loss` to `weight` and to everything that `features` come from; return the loss.

    The same as ``functional.cross_entropy(features @ weight.T, targets, label_smoothing=smoothing).backward()``,
    without a tensor of all scores.

    Parameters
    ----------
    features, weight, targets, smoothing
        As for `mean_loss`; features and weight take part in autograd.

    Raises
    ------
    ConfigError
        If `smoothing` is not a fraction.
    """
    check_fraction("smoothing", smoothing, "the share of the target that all tokens have in common")
    x, table, scale = features.detach(), weight.detach(), 1.0 / len(targets)
    grad = torch.zeros_like(table) if weight.grad is None else weight.grad
    grad_x, total = torch.empty_like(x), 0.0
    for loss, rows, log_shares in _parts(x, table, targets, smoothing):
        error = log_shares.exp_().sub_(smoothing / len(table))
        error.scatter_add_(1, targets[rows, None], error.new_full((len(error), 1), smoothing - 1.0))
        grad.addmm_(error.T, x[rows], alpha=scale)
        torch.mm(error, table, out=grad_x[rows])
        total += float(loss)
    weight.grad = grad
    features.backward(grad_x.mul_(scale))
    return total * scale


@torch.no_grad()
def _parts(
    x: torch.Tensor, table: torch.Tensor, targets: torch.Tensor, smoothing: float
) -> Iterator[tuple[torch.Tensor, slice, torch.Tensor]]:
    """Yield the summed loss, the rows and their log-probabilities, float, (rows, n_tokens)."""
    for start in range(0, len(x), _ROWS):
        rows = slice(start, min(start + _ROWS, len(x)))
        log_shares = functional.log_softmax(x[rows] @ table.T, 1)
        of_target = log_shares.gather(1, targets[rows, None]).sum()
        of_all = log_shares.sum() / len(table) if smoothing else 0.0
        yield (smoothing - 1.0) * of_target - smoothing * of_all, rows, log_shares
