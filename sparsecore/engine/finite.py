"""What happens to a training step whose loss or gradients are not finite: raise, skip or clip."""

from __future__ import annotations

import logging

import torch

from sparsecore.errors import ConfigError, NonFiniteError
from sparsecore.evolution.finite import all_finite

__all__ = ["POLICIES", "FiniteSteps", "check_policy"]

_log = logging.getLogger("sparsecore.engine")

#: What may happen to such a step.
POLICIES = ("raise", "skip", "clip")


class FiniteSteps:
    """Takes the steps of an optimizer on finite numbers only.

    Parameters
    ----------
    optimizer : Optimizer
        Takes the steps.
    policy : str
        What happens to a step whose loss or gradients are NaN or infinite. ``"raise"``: an error, before anything is
        changed. ``"skip"``: the step is left out; parameters and optimizer state stay as they were. ``"clip"``: in the
        gradients NaN becomes 0 and infinity the largest finite size in the same tensor, and the step is taken.

    Raises
    ------
    ConfigError
        If there is no such policy.

    Notes
    -----
    Costs one sum over every gradient per step. Steps left out and clipped are counted in `skipped` and `clipped` and
    told as warnings of the log ``sparsecore.engine``, the 1st, 2nd, 4th, 8th and so on of them.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> steps = FiniteSteps(torch.optim.SGD([weight], lr=0.5), "skip")
    >>> weight.grad = torch.tensor([1.0, float("nan")])
    >>> steps.step(), steps.skipped, weight.tolist()
    (False, 1, [1.0, 1.0])
    """

    def __init__(self, optimizer: torch.optim.Optimizer, policy: str = "raise") -> None:
        self.optimizer, self.policy = optimizer, check_policy(policy)
        self.skipped = self.clipped = 0

    def step(self, loss: torch.Tensor | float = 0.0) -> bool:
        """Step the optimizer after backward, as far as the policy allows it.

        Parameters
        ----------
        loss : Tensor or float
            Loss of the step; its gradients are looked at in any case.

        Returns
        -------
        bool
            Whether the step was taken.

        Raises
        ------
        NonFiniteError
            If loss or gradients are not finite under ``"raise"``, or values are already not finite, which neither
            skipping nor clipping mends.
        """
        fault = self._fault(loss)
        if fault is not None:
            self.require_values()
            if self.policy == "raise":
                raise NonFiniteError(
                    f"Expected a finite loss and gradients. Got NaN or infinity in {fault}; no step was taken. "
                    "Lower the learning rate, or choose the policy 'skip' or 'clip'."
                )
            if self.policy == "skip":
                self.skipped += 1
                self._tell(self.skipped, f"left out a step: NaN or infinity in {fault}")
                return False
            self.clipped += 1
            self._tell(self.clipped, f"clipped a step: NaN or infinity in {fault}")
            for _, grad in self._gradients():
                _clip(grad)
        self.optimizer.step()
        return True

    def _fault(self, loss: torch.Tensor | float) -> str | None:
        """Return what is not finite, or ``None``."""
        if not all_finite(torch.as_tensor(loss).detach()):
            return "the loss"
        return next((f"the gradient of {name}" for name, grad in self._gradients() if not all_finite(grad)), None)

    def _gradients(self) -> list[tuple[str, torch.Tensor]]:
        return [(name, p.grad) for name, p in self._params() if p.grad is not None]

    def _params(self) -> list[tuple[str, torch.nn.Parameter]]:
        """Return all parameters under the names that the optimizer has for them, else their places in it."""
        named: list[tuple[str, torch.nn.Parameter]] = []
        for index, group in enumerate(self.optimizer.param_groups):
            names = group.get("param_names") or [
                f"parameter {at} of group {index}" for at in range(len(group["params"]))
            ]
            named += zip(names, group["params"], strict=True)
        return named

    def require_values(self) -> None:
        """Raise `NonFiniteError` if a parameter of the optimizer is not finite."""
        for name, parameter in self._params():
            if not all_finite(parameter.detach()):
                raise NonFiniteError(
                    f"Expected finite values. Got NaN or infinity in {name}, which no policy mends. "
                    "Go on from the last checkpoint with a lower learning rate."
                )

    @staticmethod
    def _tell(count: int, what: str) -> None:
        if count & (count - 1) == 0:
            _log.warning("%s (%d so far)", what, count)


def check_policy(policy: str) -> str:
    """Return `policy`, or raise `ConfigError` if there is no such one."""
    if policy not in POLICIES:
        raise ConfigError(f"Expected a policy out of {', '.join(POLICIES)}. Got {policy!r}.")
    return policy


def _clip(grad: torch.Tensor) -> None:
    finite = torch.isfinite(grad)
    if not finite.all():
        largest = float(torch.where(finite, grad.abs(), 0.0).max())
        grad.nan_to_num_(nan=0.0, posinf=largest, neginf=-largest)
