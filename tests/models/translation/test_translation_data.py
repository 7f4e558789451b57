from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecore.errors import ConfigError, DataError
from sparsecore.models.translation import BytePairs, EncodedPairs, Pairs, TokenBatches, bleu, load_multi30k
from sparsecore.models.translation.tokenizer import BOS, EOS, PAD

pytest.importorskip("tokenizers", reason="tokenizers is not installed (extra: translation)")

TEXT = [
    "Ein Mädchen in einem Karateanzug bricht ein Brett mit einem Tritt.",
    "A girl in karate uniform breaking a stick with a front kick.",
    "Fünf Leute in Winterjacken und mit Helmen stehen im Schnee.",
    "„Größe“ — 3,5 €  zwei  Lücken\ttab, 漢字 🙂",
]


@pytest.fixture(scope="module")
def tokenizer() -> BytePairs:
    return BytePairs.train(TEXT, 320)


def test_sentences_come_back_as_they_were(tokenizer: BytePairs) -> None:
    unseen = ["Völlig neue Wörter: zygomorph, Ωmega.", "", "x", "it's  'quoted' (twice)."]
    assert tokenizer.decode(tokenizer.encode([*TEXT, *unseen])) == [*TEXT, *unseen]
    assert tokenizer.encode(["  around "]) != [[]]
    assert tokenizer.decode(tokenizer.encode(["  around "])) == ["around"]


def test_marks_are_never_in_a_text_and_never_in_a_translation(tokenizer: BytePairs) -> None:
    ids = tokenizer.encode(TEXT)
    assert not {PAD, BOS, EOS} & {token for row in ids for token in row}
    assert tokenizer.decode([[BOS, *ids[0], EOS, PAD, PAD]]) == TEXT[:1]


def test_the_same_text_gives_the_same_tokenizer_and_json_keeps_it(tokenizer: BytePairs) -> None:
    again = BytePairs.train(TEXT, 320)
    assert again.to_json() == tokenizer.to_json()
    kept = BytePairs(tokenizer.to_json())
    assert kept.encode(TEXT) == tokenizer.encode(TEXT)
    assert tokenizer.n_tokens == kept.n_tokens == 320


def test_bad_tokenizers_are_refused() -> None:
    with pytest.raises(DataError, match="tokenizer as JSON"):
        BytePairs("nothing")
    with pytest.raises(ConfigError, match="size of the vocabulary"):
        BytePairs.train(TEXT, 200)


def pairs(n: int = 400) -> EncodedPairs:
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 20, (2, n))
    sides = [[draw.integers(3, 50, length).tolist() for length in side] for side in lengths]
    return EncodedPairs(*sides)


def test_every_sentence_comes_once_in_an_epoch_and_no_batch_is_too_large() -> None:
    found = TokenBatches(pairs(), 128, seed=1)
    epoch = found.epoch(0)
    assert sorted(np.concatenate(epoch).tolist()) == list(range(400))
    sizes = [(found.take(rows).source.numel(), found.take(rows).target_in.numel()) for rows in epoch]
    assert max(max(size) for size in sizes) <= 128
    assert np.mean([max(size) for size in sizes]) > 100


def test_epochs_differ_and_the_same_seed_gives_the_same_order() -> None:
    found, same, other = (TokenBatches(pairs(), 128, seed=seed) for seed in (1, 1, 2))
    first = [rows.tolist() for rows in found.epoch(3)]
    assert first == [rows.tolist() for rows in same.epoch(3)]
    assert first != [rows.tolist() for rows in found.epoch(4)]
    assert first != [rows.tolist() for rows in other.epoch(3)]


def test_a_batch_holds_its_sentences_between_marks() -> None:
    encoded = EncodedPairs([[5, 6, 7], [8]], [[9], [10, 11]])
    batch = TokenBatches(encoded, 100, seed=0).take(np.array([1, 0]))
    assert batch.source.tolist() == [[8, EOS, PAD, PAD], [5, 6, 7, EOS]]
    assert batch.target_in.tolist() == [[BOS, 10, 11], [BOS, 9, PAD]]
    assert batch.target_out.tolist() == [[10, 11, EOS], [9, EOS, PAD]]
    assert batch.n_target == 5
    assert batch.source.dtype == torch.int64


def test_for_evaluation_all_sentences_come_by_length() -> None:
    batches = list(TokenBatches(pairs(), 128, seed=1).in_order())
    assert sum(len(batch.source) for batch in batches) == 400
    widths = [batch.target_in.shape[1] for batch in batches]
    assert sum(a > b for a, b in zip(widths[:-1], widths[1:], strict=True)) <= 1


def test_a_sentence_longer_than_a_batch_is_refused() -> None:
    with pytest.raises(DataError, match="at most 10 tokens"):
        TokenBatches(pairs(), 10, seed=0)


def test_files_of_both_languages_are_read_and_bad_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.en\.gz"):
        load_multi30k(tmp_path)
    for stem in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            with gzip.open(tmp_path / f"{stem}.{language}.gz", "wt", encoding="utf-8") as file:
                file.write(f"  {stem} {language} \n ä \n")
    found = load_multi30k(tmp_path, source="de", target="en")
    assert found["valid"] == Pairs(("val de", "ä"), ("val en", "ä"))
    (tmp_path / "val.de.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="gzipped UTF-8"):
        load_multi30k(tmp_path)
    with pytest.raises(DataError, match="as many sentences"):
        Pairs(("a",), ())


def test_the_published_files_are_complete(data_folder: Path) -> None:
    found = load_multi30k(data_folder)
    assert {part: len(found[part]) for part in found} == {"train": 29_000, "valid": 1_014, "test": 1_000}
    assert found["test"].source[0] == "A man in an orange hat starring at something."
    assert found["test"].target[0] == "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."


def test_the_references_themselves_have_a_bleu_of_100(data_folder: Path) -> None:
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed (extra: translation)")
    references = load_multi30k(data_folder)["test"].target
    perfect = bleu(references, references)
    assert round(perfect.score, 6) == 100.0
    assert "tok:13a" in perfect.signature
    assert bleu([text[: len(text) // 2] for text in references], references).score < 60.0
    with pytest.raises(DataError, match="one per reference"):
        bleu(references[:3], references)
