"""Pre-training of LLaMA on links: ``python -m sparsecore.models.pretrain OUT``, alone or under torchrun."""

from sparsecore.models.pretrain.recipe import LlamaRun
from sparsecore.models.pretrain.training import Prepared, prepare, read_run, train

__all__ = ["LlamaRun", "Prepared", "prepare", "read_run", "train"]
