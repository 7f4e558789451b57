"""Outlines of Hugging Face models from their configuration alone, for `sparsecore.planning`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sparsecore.errors import ConfigError, SparseCoreError, check_count
from sparsecore.planning import Outline, outline_model

__all__ = ["outline_pretrained"]


def outline_pretrained(
    config: str | os.PathLike[str] | Mapping[str, Any],
    batch: int,
    tokens: int,
    *,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> Outline:
    """Return the outline of a language model; no weight is built and nothing is downloaded.

    Parameters
    ----------
    config : path or mapping
        Folder with ``config.json``, such a file, or its content (``model_type`` and sizes).
    batch, tokens : int
        Sequences of one step and tokens of each.
    include, exclude : sequence of str
        Which layers would become links, as in `sparsecore.sparsify`.

    Raises
    ------
    ConfigError
        If the transformers library is missing, or the configuration is none of a model that takes tokens.
    """
    check_count("batch", batch, "the number of sequences of one step", low=1)
    check_count("tokens", tokens, "the number of tokens of a sequence", low=1)
    fields = dict(config) if isinstance(config, Mapping) else _read(Path(config))
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            "Expected the transformers library. Got none. Install sparsecore-engine[huggingface]."
        ) from error
    kind = fields.pop("model_type", None)
    if not isinstance(kind, str) or kind not in transformers.CONFIG_MAPPING:
        raise ConfigError(f"Expected a model_type that transformers knows. Got {kind!r}. See config.json.")
    try:
        settings = transformers.AutoConfig.for_model(kind, **fields)
        return outline_model(*_steps(settings, batch, tokens), batch, include=include, exclude=exclude)
    except SparseCoreError:
        raise
    except Exception as error:  # the library raises nothing more precise
        raise ConfigError(
            f"Expected a model that takes token ids. Got {kind}, which fails: {error!r}. Correct its configuration."
        ) from error


def _steps(settings: Any, batch: int, tokens: int) -> tuple[Callable[[], Any], Callable[[Any], torch.Tensor]]:
    """Return what builds the model of a configuration, and what takes one step with it."""
    import transformers

    def build() -> Any:
        named = [getattr(transformers, name, None) for name in settings.architectures or ()]
        if named and named[0]:
            return named[0](settings)
        return transformers.AutoModelForCausalLM.from_config(settings)  # type: ignore[no-untyped-call, unused-ignore]

    def run(model: Any) -> torch.Tensor:
        ids = torch.zeros(batch, tokens, dtype=torch.long)
        inputs = {"input_ids": ids, "decoder_input_ids": ids} if settings.is_encoder_decoder else {"input_ids": ids}
        out = model(**inputs)
        scores: torch.Tensor = getattr(out, "logits", out[0])
        return torch.nn.functional.log_softmax(scores.float(), -1).mean()

    return build, run


def _read(path: Path) -> dict[str, Any]:
    file = path / "config.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"Expected a configuration in {file}. Got {error}. Name a folder with config.json."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"Expected an object in {file}. Got {type(content).__name__}. Name a config.json.")
    return content
