from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

transformers = pytest.importorskip("transformers", reason="the extra 'huggingface' is not installed")
pytest.importorskip("accelerate", reason="the extra 'huggingface' is not installed")

import lzma  # noqa: E402

from sparsecore.errors import CheckpointError, ConfigError, DataError, SparseCoreError, UnknownNameError  # noqa: E402
from sparsecore.integrations.pretrained import from_pretrained  # noqa: E402
from sparsecore.models.llama import SIZES  # noqa: E402
from sparsecore.models.pretrain import LlamaRun, prepare  # noqa: E402
from sparsecore.models.pretrain.__main__ import main  # noqa: E402
from sparsecore.models.pretrain.clock import StepClock  # noqa: E402
from sparsecore.models.pretrain.corpus import documents  # noqa: E402
from sparsecore.models.pretrain.table import main as show  # noqa: E402
from sparsecore.models.pretrain.tokens import make_tokenizer  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory.*"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]
WORDS = ["links", "neurons", "percolate", "grow", "leave", "come", "sparse", "dense", "layer", "step", "seed", "rule"]


@pytest.fixture(autouse=True)
def _tiny_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "20m", (32, 48, 4, 1))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "text"
    folder.mkdir()
    draw = random.Random(0)
    for part, n in (("train", 40), ("valid", 6)):
        found = [" ".join(draw.choices(WORDS, k=60)) + "\n" for _ in range(n)]
        with lzma.open(folder / f"techdocs.{part}.txt.xz", "wt") as file:
            file.write("<|doc|>\n".join(found))
    return folder.parent


def options(texts: Path, **changes: Any) -> list[str]:
    chosen = {
        "data_dir": texts, "tokenizer": "bpe:300", "context": 16, "batch": 2, "steps": 9, "every": 3, "lr": 1e-2,
        "save_every": 4, "valid_every": 5, "valid_blocks": 8, "density": 0.2, "cpu": True, "threads": 1,
    } | changes  # fmt: skip
    words = []
    for name, value in chosen.items():
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return words


def result(out: Path) -> dict[str, Any]:
    return json.loads((out / "result.json").read_text())


def same_model(one: Path, other: Path) -> bool:
    a, b = (load_file(out / "model" / "model.safetensors") for out in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", ["chts", "chtss", "dense"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, texts: Path, method: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([str(one), *options(texts, method=method, accumulate=2)]) == 0
    shutil.copytree(one, two)
    for lost in ("model", "checkpoints/checkpoint-9"):
        shutil.rmtree(two / lost)
    (two / "result.json").unlink()
    (two / "checkpoints" / "checkpoint-9").mkdir()  # as a process leaves it that dies while it writes
    left = result(one)
    for steps_left in (1, 0):
        assert main([str(two), "--resume"]) == 0
        assert same_model(one, two)
        right = result(two)
        assert left["valid"]["5"] == right["valid"]["5"]
        assert left["summary"]["valid_loss"] == right["summary"]["valid_loss"]
        assert right["summary"]["measured_steps"] == steps_left
        assert all(left["summary"][name] == right["summary"][name] for name in ("links", "itop") if method != "dense")
    if method != "dense":
        assert left["summary"]["updates"] == 2
        assert left["summary"]["density"] == pytest.approx(0.2, abs=0.01)


def test_the_trained_model_and_its_tokenizer_come_back_from_the_folder(tmp_path: Path, texts: Path) -> None:
    assert main([str(tmp_path / "run"), *options(texts, method="set", steps=30, every=10)]) == 0
    model = from_pretrained(transformers.AutoModelForCausalLM, tmp_path / "run" / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    found = result(tmp_path / "run")
    assert found["summary"]["valid_perplexity"] < 0.5 * found["vocabulary"]
    ids = tokenizer("links grow", return_tensors="pt").input_ids
    assert model(input_ids=ids).logits.shape == (1, ids.shape[1], found["vocabulary"])
    assert tokenizer.decode(ids[0]) == "links grow"


def test_switches_reach_the_trainer(tmp_path: Path, texts: Path) -> None:
    words = options(texts, method="rigl", bf16=True, recompute=True, steps=4, every=2, report_to="tensorboard")
    assert main([str(tmp_path), *words]) == 0
    assert result(tmp_path)["summary"]["updates"] == 1
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_tokens_are_the_text_with_end_marks(tmp_path: Path, texts: Path) -> None:
    run = LlamaRun(data_dir=str(texts), context=8, tokenizer="bpe:300", documents=3, valid_blocks=2)
    data = prepare(run, tmp_path)
    ids = data.train.blocks.reshape(-1)
    text = data.tokenizer.decode(np.asarray(ids, np.int64).tolist())
    assert "".join(documents(run, "train")).startswith(text.replace("</s>", "")[:400])
    assert (ids == data.tokenizer.eos_token_id).sum() in (2, 3)
    assert len(data.valid) == 2
    assert data.valid[0]["labels"].dtype == torch.int64
    reread = prepare(run, tmp_path)
    assert np.array_equal(reread.train.blocks, data.train.blocks)


def test_a_tokenizer_is_read_from_a_file_and_from_a_folder(tmp_path: Path, texts: Path) -> None:
    made = make_tokenizer("bpe:280", documents(LlamaRun(data_dir=str(texts)), "train"))
    made.save_pretrained(tmp_path)
    for choice in (tmp_path, tmp_path / "tokenizer.json"):
        read = make_tokenizer(str(choice), [])
        assert read("links").input_ids == made("links").input_ids
        assert read.eos_token == "</s>"


def test_a_data_set_of_the_hugging_face_library_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")
    rows = [f"text {number}" for number in range(10)]
    datasets.Dataset.from_dict({"words": rows}).save_to_disk(tmp_path / "one")
    run = LlamaRun(data=str(tmp_path / "one"), column="words", valid_documents=3)
    assert list(documents(run, "train")) == rows[3:]
    assert list(documents(run, "valid")) == rows[:3]
    parts = {"train": datasets.Dataset.from_dict({"text": rows}), "test": datasets.Dataset.from_dict({"text": ["t"]})}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "two")
    run = LlamaRun(data=str(tmp_path / "two"), documents=4)
    assert list(documents(run, "train")) == rows[:4]
    assert list(documents(run, "valid")) == ["t"]
    with pytest.raises(DataError, match=r"a column 'words' in .* Got \['text'\]"):
        list(documents(LlamaRun(data=str(tmp_path / "two"), column="words"), "train"))
    with pytest.raises(DataError, match="Expected techdocs, a folder"):
        list(documents(LlamaRun(data=str(tmp_path / "three")), "train"))


def test_the_library_of_data_sets_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"sparsecore-engine\[datasets\]"):
        list(documents(LlamaRun(data="hf:c4"), "train"))


def test_results_become_a_table(tmp_path: Path, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for method in ("dense", "set"):
        assert main([str(tmp_path / method), *options(texts, method=method, steps=4)]) == 0
    capsys.readouterr()
    assert show([str(tmp_path / "set"), str(tmp_path / "dense" / "result.json")]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert rows[2].startswith("| dense | 100% | **") and rows[3].startswith("| set | 20% | **")
    assert f"**{result(tmp_path / 'set')['summary']['valid_perplexity']:.2f}**" in rows[3]
    assert rows[3].count("×)") == 2
    assert show([str(tmp_path / "none")]) == 2
    assert "result of a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": "20"}, UnknownNameError, "size of LLaMA"),
        ({"method": "chtz"}, UnknownNameError, "Did you mean 'cht"),
        ({"topology": "brg"}, UnknownNameError, "Did you mean 'brf'"),
        ({"report_to": "paper"}, UnknownNameError, "place to report to"),
        ({"density": 0.0}, ConfigError, r"density in \(0, 1\]"),
        ({"warmup": 2.0}, ConfigError, r"warmup in \[0, 1\]"),
        ({"steps": 0}, ConfigError, "steps to be an integer >= 1"),
        ({"valid_blocks": 0}, ConfigError, "valid_blocks to be an integer >= 1"),
        ({"context": 1}, ConfigError, "context to be an integer >= 2"),
        ({"seed": -1}, ConfigError, "seed to be an integer in"),
        ({"weight_decay": -1.0}, ConfigError, "weight_decay >= 0"),
        ({"clip": float("nan")}, ConfigError, "clip >= 0"),
        ({"method": "gmp", "density": 0.6}, ConfigError, "density_start"),
    ],
)
def test_options_that_cannot_work_are_refused(
    changes: dict[str, Any], error: type[SparseCoreError], message: str
) -> None:
    with pytest.raises(error, match=message):
        LlamaRun(**changes)


def test_what_is_missing_is_named(tmp_path: Path, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--resume"]) == 2
    assert "Start it without --resume" in capsys.readouterr().err
    assert main([str(tmp_path / "a"), *options(tmp_path)]) == 2
    assert "Expected a text in" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file" / "run"), *options(texts)]) == 2
    assert "Not a directory" in capsys.readouterr().err
    assert main([str(tmp_path / "b"), *options(texts, tokenizer="bpe:10")]) == 2
    assert "bpe:SIZE" in capsys.readouterr().err
    assert main([str(tmp_path / "c"), *options(texts, tokenizer="none")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert main([str(tmp_path / "d"), *options(texts, context=10**6)]) == 2
    assert "at least 1000000 tokens" in capsys.readouterr().err
    assert not [path for path in map(tmp_path.joinpath, "abcd") if path.exists()], "a failed start leaves no folder"
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "run.json").write_text('{"speed": 1}')
    assert main([str(tmp_path / "d"), *options(texts)]) == 2
    assert "Go on with --resume" in capsys.readouterr().err
    assert main([str(tmp_path / "d"), "--resume"]) == 2
    assert "Got speed" in capsys.readouterr().err
    damaged = tmp_path / "text"
    damaged.mkdir()
    (damaged / "techdocs.train.txt.xz").write_bytes(b"nothing packed")
    with pytest.raises(DataError, match="Copy the file again"):
        list(documents(LlamaRun(data_dir=str(tmp_path)), "train"))
    with pytest.raises(CheckpointError):
        from_pretrained(transformers.AutoModelForCausalLM, tmp_path / "a")


def test_a_failed_start_leaves_a_folder_as_it_was(tmp_path: Path, texts: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "tokenizer").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for wrong in ({"context": 10**6}, {"topology": "csti"}, {"data_dir": tmp_path / "typo"}):
        assert main([str(tmp_path), *options(texts, **wrong)]) == 2
        made = sorted(path for path in tmp_path.rglob("*") if path.parent.name != "tokenizer")
        assert made == before


def test_a_run_goes_on_with_the_data_where_they_are_now_and_no_other_option(
    tmp_path: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"
    run.mkdir()
    values = dataclasses.asdict(LlamaRun(data_dir=str(tmp_path / "gone"), method="dense", steps=2, context=16, batch=2))
    (run / "run.json").write_text(json.dumps(values | {"tokenizer": "bpe:300", "cpu": True, "valid_blocks": 2}))
    shutil.copytree(texts, moved)
    assert main([str(run), "--resume", "--steps", "5", "--cpu"]) == 2
    assert "Got --steps, --cpu." in capsys.readouterr().err
    assert main([str(run), "--resume"]) == 2
    assert "gone" in capsys.readouterr().err
    assert main([str(run), "--resume", "--data-dir", str(moved)]) == 0
    assert result(run)["run"]["steps"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["chts", "chtss"])
def test_two_processes_learn_what_one_learns_of_the_same_batches(tmp_path: Path, texts: Path, method: str) -> None:
    """The smallest size would take long: a script replaces it by a smaller one and runs the command."""
    script = tmp_path / "tiny.py"
    script.write_text(
        "import sys\nfrom sparsecore.models.llama import SIZES\nSIZES['20m'] = (32, 48, 4, 1)\n"
        "from sparsecore.models.pretrain.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    words = options(texts, method=method)
    assert main([str(tmp_path / "one"), *words, "--batch", "4"]) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
                "--rdzv-endpoint", "localhost:0"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*torchrun, str(script), str(tmp_path / "two"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert two["machine"]["processes"] == 2
    assert two["summary"]["tokens"] == one["summary"]["tokens"]
    assert two["summary"]["links"] == one["summary"]["links"]
    assert two["summary"]["valid_loss"] == pytest.approx(one["summary"]["valid_loss"], abs=0.05)


def test_a_falling_density_shows_in_the_speed_and_a_busy_moment_does_not():
    clock = StepClock()
    clock.steps_s, clock.updates_s = [4.0, 4.0, 90.0, 4.0, 2.0, 2.0, 2.0, 80.0], [0.1] * 8
    assert clock.steps_per_s(4) == pytest.approx(1 / 3)
    clock.updates_s[3] = clock.updates_s[7] = 4.1
    assert clock.steps_per_s(4) == pytest.approx(1 / 4)
