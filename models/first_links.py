"""Which generator makes the first links of an MLP on images: the one chosen, or that of the method's paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsecore import generators
from sparsecore._typing import FloatArray
from sparsecore.errors import ConfigError
from sparsecore.registry import named_options

__all__ = ["AUTO", "FirstLinks"]

#: The generator of the method's paper.
AUTO = "auto"

#: Methods whose papers start from correlations between input features; the others start uniformly.
_CORRELATED = ("static", "cht", "chts", "chtss")

#: First links by correlation, and those that take their place in layers too narrow for them.
_CSTI, _NARROW = "csti", "brf"


@dataclass(frozen=True)
class FirstLinks:
    """First links of an MLP.

    Attributes
    ----------
    topology : str
        Generator with options as in ``"brf:r=0.25"``, or ``"auto"``: for static, CHT, CHTs and CHTss correlation
        between input features (``"csti"``), or receptive fields (``"brf"``) where a layer has fewer neurons than there
        are features, which correlations need; uniform (``"er"``) for the others.
    method : str
        Registered method, with options or not.
    hidden : sequence of int
        Sizes of the hidden layers.
    n_features : int
        Size of the input.
    """

    topology: str
    method: str
    hidden: Sequence[int]
    n_features: int

    def generator(self, features: FloatArray, options: Mapping[str, Any]) -> generators.Generator:
        """Return the generator with its options; `features`, (samples, n_features), are what it may correlate.

        Raises
        ------
        ConfigError
            If the generator was chosen and needs wider layers, or has no such option.
        """
        if not self._by_correlation:
            text = self.topology if self.topology != AUTO else _NARROW if self._correlated else "er"
            return generators.registry.build(text, **options)
        if not self._fits:
            raise ConfigError(
                f"Expected hidden layers of at least {self.n_features} neurons, one per input, with topology {_CSTI}. "
                f"Got {self._sizes}. Choose another, as --topology er (topology), or widen --hidden (hidden)."
            )
        text = _CSTI if self.topology == AUTO else self.topology
        return generators.registry.build(text, **{"features": features, **options})

    @property
    def warning(self) -> str | None:
        """What to tell a user whose layers are too narrow for the links of the paper; nothing if they are not."""
        if self.topology != AUTO or not self._correlated or self._fits:
            return None
        return (
            f"First links are those of topology {_NARROW}, not of {_CSTI}, which needs hidden layers of at least "
            f"{self.n_features} neurons, one per input. Got {self._sizes}. See --topology and --hidden."
        )

    @property
    def _by_correlation(self) -> bool:
        if self.topology == AUTO:
            return self._correlated and self._fits
        return self.topology.partition(":")[0] == _CSTI

    @property
    def _correlated(self) -> bool:
        return named_options("method", self.method)[0] in _CORRELATED

    @property
    def _fits(self) -> bool:
        return min(self.hidden, default=0) >= self.n_features

    @property
    def _sizes(self) -> str:
        return ",".join(map(str, self.hidden))
