from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
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
from sparsecore.integrations.transformers import SparseTrainer  # noqa: E402
from sparsecore.models.llama import SIZES  # noqa: E402
from sparsecore.models.pretrain import LlamaRun, prepare  # noqa: E402
from sparsecore.models.pretrain.__main__ import main  # noqa: E402
from sparsecore.models.pretrain.clock import StepClock  # noqa: E402
from sparsecore.models.pretrain.corpus import documents  # noqa: E402
from sparsecore.models.pretrain.table import main as show  # noqa: E402
from sparsecore.models.pretrain.tokens import equal_batches, make_tokenizer, write_tokens  # noqa: E402

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


@pytest.mark.parametrize(("method", "saved"), [("chts", 8), ("chtss", 8), ("chtss", 5), ("dense", 8)])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, texts: Path, method: str, saved: int) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([str(one), *options(texts, method=method, accumulate=2, save_every=saved)]) == 0
    shutil.copytree(one, two)
    for lost in ("model", "checkpoints/checkpoint-9"):
        shutil.rmtree(two / lost)
    (two / "result.json").unlink()
    (two / "checkpoints" / "checkpoint-9").mkdir()  # as a process leaves it that dies while it writes
    left = result(one)
    for steps_left in (9 - saved, 0):
        (two / "result.json").unlink(missing_ok=True)
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


def test_resuming_a_run_that_has_ended_keeps_what_was_measured(tmp_path: Path, texts: Path) -> None:
    assert main([str(tmp_path), *options(texts, method="dense", steps=3)]) == 0
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert result(tmp_path)["summary"]["steps_per_s"] > 0
    assert main([str(tmp_path), "--resume"]) == 0
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_the_end_mark_is_trained(tmp_path: Path, texts: Path) -> None:
    assert main([str(tmp_path), *options(texts, method="set", steps=3)]) == 0
    model = from_pretrained(transformers.AutoModelForCausalLM, tmp_path / "model").train()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    end = tokenizer.eos_token_id
    assert model.get_input_embeddings().weight[end].abs().sum() > 0
    ids = tokenizer("links</s>grow", return_tensors="pt").input_ids
    assert end in ids
    model(input_ids=ids, labels=ids).loss.backward()
    assert model.get_input_embeddings().weight.grad[end].abs().sum() > 0


def test_tokens_are_those_that_were_seen(tmp_path: Path, texts: Path) -> None:
    words = options(texts, method="dense", steps=8, batch=6, documents=1, tokenizer="bpe:258")
    assert main([str(tmp_path), *words]) == 0
    found = result(tmp_path)["summary"]
    n_blocks = (tmp_path / "train.tokens").stat().st_size // 2 // 16
    assert n_blocks % 6 and found["epochs"] > 1
    assert found["tokens"] == round(found["epochs"] * n_blocks) * 16
    assert found["tokens"] < 8 * 6 * 16


def test_switches_reach_the_trainer(tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built, train = [], SparseTrainer.train

    def note(self: SparseTrainer, *arguments: Any, **named: Any) -> Any:
        built.append(self)
        return train(self, *arguments, **named)

    monkeypatch.setattr(SparseTrainer, "train", note)
    words = options(texts, method="rigl", bf16=True, recompute=True, steps=4, every=2, report_to="tensorboard")
    words += ["--clip", "0.5", "--weight-decay", "0.25", "--accumulate", "3", "--warmup", "0.5", "--lr-end", "0.3"]
    assert main([str(tmp_path), *words]) == 0
    (trainer,) = built
    given = trainer.args
    assert given.bf16 and given.activation_checkpointing and given.use_cpu
    assert given.activation_checkpointing_kwargs == {"use_reentrant": False}
    assert trainer.model.is_activation_checkpointing
    assert (given.max_steps, given.warmup_steps, given.gradient_accumulation_steps) == (4, 2, 3)
    assert (given.learning_rate, given.lr_scheduler_kwargs) == (1e-2, {"min_lr_rate": 0.3})
    assert (given.max_grad_norm, given.weight_decay, given.seed) == (0.5, 0.25, 0)
    assert (given.per_device_train_batch_size, given.per_device_eval_batch_size) == (2, 2)
    assert (given.eval_steps, given.save_steps, given.report_to) == (5, 4, ["tensorboard"])
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


def test_no_document_is_left_out_in_a_text_of_many(tmp_path: Path) -> None:
    rows = [f"document {number}" for number in range(600)]
    made = make_tokenizer("bpe:300", rows)
    n_tokens = write_tokens(tmp_path / "ids", rows, made)
    ids = np.fromfile(tmp_path / "ids", "<u2")
    assert len(ids) == n_tokens
    assert made.decode(ids.tolist()).split("</s>") == [*rows, ""]


def test_a_tokenizer_neither_cuts_documents_nor_fills_them_up_nor_reads_marks_in_them(tmp_path: Path) -> None:
    rows = ["links grow " * 50, "a </s> in a text"]
    made = make_tokenizer("bpe:300", rows)
    library = made.backend_tokenizer
    library.enable_truncation(16)
    library.enable_padding(length=400)
    write_tokens(tmp_path / "ids", rows, made)
    ids = np.fromfile(tmp_path / "ids", "<u2")
    assert (ids == made.eos_token_id).sum() == 2
    assert made.decode(ids.tolist()) == "</s>".join([*rows, ""])
    assert library.truncation["max_length"] == 16 and library.padding["length"] == 400, "the given one is left alone"


def test_of_a_stream_no_more_is_written_than_the_steps_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def stream() -> Iterator[dict[str, str | None]]:
        nonlocal taken
        for taken in range(1, 5001):
            yield {"text": None if taken % 7 == 0 else "grow leave come sparse " * 10}

    parts = {"train": stream(), "validation": [{"text": "grow leave come " * 50}]}
    fake = types.SimpleNamespace(load_dataset=lambda *_, **__: parts)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    make_tokenizer("bpe:300", ["grow leave come sparse"]).save_pretrained(tmp_path / "made")
    run = LlamaRun(data="hf:x:y", tokenizer=str(tmp_path / "made"), context=16, steps=3, batch=2, accumulate=2)
    data = prepare(run, tmp_path)
    assert 12 < len(data.train) < 20
    assert taken < 400


def test_several_processes_evaluate_equal_batches() -> None:
    assert equal_batches(1003, 64, 1) == (1003, 64)
    for n_blocks in range(3, 60):
        for batch in (1, 4, 7):
            kept, size = equal_batches(n_blocks, batch, 3)
            assert 0 < kept <= n_blocks < kept + 3 * size
            assert kept % (3 * size) == 0 and size <= batch
    assert equal_batches(64, 8, 4) == (64, 8)
    with pytest.raises(DataError, match="each of 3 processes. Got 2"):
        equal_batches(2, 8, 3)


def test_a_tokenizer_that_was_half_written_is_made_again(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def half(self: Any, folder: Path) -> None:
        Path(folder).mkdir()
        (Path(folder) / "tokenizer.json").write_text('{"version": ')
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(transformers.PreTrainedTokenizerFast, "save_pretrained", half)
        with pytest.raises(Killed):
            main([str(tmp_path), *options(texts, method="dense", steps=1)])
    assert main([str(tmp_path), "--resume"]) == 0
    assert not (tmp_path / "tokenizer.part").exists()


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
    dense = tmp_path / "dense" / "result.json"
    unmeasured, early = json.loads(dense.read_text()), json.loads((tmp_path / "set" / "result.json").read_text())
    unmeasured["summary"]["steps_per_s"] = None
    early["summary"]["density"] = 0.5
    dense.write_text(json.dumps(unmeasured))
    (tmp_path / "early.json").write_text(json.dumps(early))
    assert show([str(tmp_path / "early.json"), str(dense)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert "| – |" in rows[2] and "(–)" in rows[3]
    assert rows[3].startswith("| set | 50% |"), "a density that was not reached is not claimed"
    for content in ("{}", "[]", '{"run": {}, "summary": {}}'):
        (tmp_path / "other.json").write_text(content)
        assert show([str(tmp_path / "other.json")]) == 2
        assert "Got another JSON" in capsys.readouterr().err
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
        ({"density": 1.0}, ConfigError, "method 'dense'"),
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


def on_ranks(n_ranks: int, out: Path, *words: str) -> None:
    """Run the command under torchrun; a script replaces the smallest size, which would take long, by a smaller one."""
    script = out.with_name("tiny.py")
    script.write_text(
        "import sys\nfrom sparsecore.models.llama import SIZES\nSIZES['20m'] = (32, 48, 4, 1)\n"
        "from sparsecore.models.pretrain.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n_ranks), "--rdzv-backend",
                "c10d", "--rdzv-endpoint", "localhost:0"]  # fmt: skip
    command = [*torchrun, str(script), str(out), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("method", ["chts", "chtss"])
def test_two_processes_learn_what_one_learns_of_the_same_batches(tmp_path: Path, texts: Path, method: str) -> None:
    words = options(texts, method=method)
    assert main([str(tmp_path / "one"), *words, "--batch", "4", "--valid-blocks", "4"]) == 0
    on_ranks(2, tmp_path / "two", *words, "--valid-blocks", "7")
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert two["machine"]["processes"] == 2
    assert two["summary"]["tokens"] == one["summary"]["tokens"]
    assert two["summary"]["links"] == one["summary"]["links"]
    assert two["summary"]["valid_loss"] == pytest.approx(one["summary"]["valid_loss"], abs=0.05)
    model = from_pretrained(transformers.AutoModelForCausalLM, tmp_path / "two" / "model")
    ids = np.fromfile(tmp_path / "two" / "valid.tokens", "<u2")[: 4 * 16].astype(np.int64).reshape(4, 16)
    whole = model(input_ids=torch.from_numpy(ids), labels=torch.from_numpy(ids)).loss.item()
    assert two["summary"]["valid_loss"] == pytest.approx(whole, rel=1e-5), "no sequence counts twice"


@pytest.mark.slow
def test_three_processes_that_are_resumed_end_with_the_same_bits(tmp_path: Path, texts: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    on_ranks(3, one, *options(texts, method="chtss", save_every=5), "--accumulate", "2", "--recompute")
    shutil.copytree(one, two)
    for lost in ("model", "checkpoints/checkpoint-9"):
        shutil.rmtree(two / lost)
    (two / "result.json").unlink()
    on_ranks(3, two, "--resume")
    assert result(two)["summary"]["measured_steps"] == 4
    assert same_model(one, two)


def test_a_falling_density_shows_in_the_speed_and_a_busy_moment_does_not():
    clock = StepClock(4)
    clock.steps_s, clock.updates_s = [4.0, 4.0, 90.0, 4.0, 2.0, 2.0, 2.0, 80.0], [0.1] * 8
    clock.has_update = [step % 4 == 0 for step in range(1, 9)]
    assert clock.steps_per_s() == pytest.approx(1 / 3)
    clock.updates_s[3] = clock.updates_s[7] = 4.1
    assert clock.steps_per_s() == pytest.approx(1 / 4)


@pytest.mark.parametrize("resumed_at", [0, 13])
def test_updates_count_in_the_speed_of_a_run_that_was_resumed_between_them(
    monkeypatch: pytest.MonkeyPatch, resumed_at: int
) -> None:
    clock, now, control = StepClock(10), 0.0, transformers.TrainerControl()
    monkeypatch.setattr("time.process_time", lambda: now)
    arguments = types.SimpleNamespace()
    for step in range(resumed_at + 1, 41):
        state = transformers.TrainerState(global_step=step, max_steps=40)
        clock.on_step_begin(arguments, state, control)
        now += 1.0
        clock.on_pre_optimizer_step(arguments, state, control)
        now += 5.5 if step in (10, 20, 30) else 0.5
        clock.on_step_end(arguments, state, control)
    assert clock.steps_per_s() == pytest.approx(1 / 2)
