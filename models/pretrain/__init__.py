"""Pre-training of LLaMA on links: ``python -m sparsecore.models.pretrain OUT``, alone or under torchrun."""

from sparsecore.models.pretrain.recipe import DENSE, LlamaRun
from sparsecore.models.pretrain.training import Prepared, prepare, train

__all__ = ["DENSE", "LlamaRun", "Prepared", "prepare", "train"]
