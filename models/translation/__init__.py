"""Translation by an encoder-decoder Transformer on links: data, tokenizer, model, training, search, BLEU."""

from sparsecore.models.translation.attention import Attention
from sparsecore.models.translation.batches import EncodedPairs, TokenBatches
from sparsecore.models.translation.beam import beam_search
from sparsecore.models.translation.corpus import Pairs, load_multi30k
from sparsecore.models.translation.evaluation import Bleu, bleu, token_loss, translate
from sparsecore.models.translation.recipe import TranslationRun, TranslationTask, build, prepare
from sparsecore.models.translation.tokenizer import BytePairs
from sparsecore.models.translation.trainer import TranslationTrainer
from sparsecore.models.translation.transformer import Sizes, Transformer

__all__ = [
    "Attention",
    "Bleu",
    "BytePairs",
    "EncodedPairs",
    "Pairs",
    "Sizes",
    "TokenBatches",
    "Transformer",
    "TranslationRun",
    "TranslationTask",
    "TranslationTrainer",
    "beam_search",
    "bleu",
    "build",
    "load_multi30k",
    "prepare",
    "token_loss",
    "translate",
]
