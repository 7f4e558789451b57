"""The script of the documentation as a process of its own: killed, started again, the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra 'huggingface' is not installed")
pytest.importorskip("accelerate", reason="the extra 'huggingface' is not installed")

from sparsecore.integrations.transformers import last_checkpoint

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "examples" / "huggingface_trainer.py"


def start(out: Path) -> subprocess.Popen[str]:
    out.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, str(SCRIPT), str(out), "60"], cwd=out, env=environment, **pipes)


def test_a_killed_script_goes_on_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, killed = start(tmp_path / "whole"), start(tmp_path / "killed")
    until = time.monotonic() + 200
    while last_checkpoint(tmp_path / "killed" / "checkpoints") is None:
        assert killed.poll() is None and time.monotonic() < until, killed.communicate()[0]
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model").exists()
    resumed = start(tmp_path / "killed")
    for process in (whole, resumed):
        said = process.communicate(timeout=200)[0]
        assert process.returncode == 0, said
        assert "same outputs: True" in said
    models = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert models[0] == models[1]


def test_checkpoints_cut_short_are_passed_over(tmp_path: Path) -> None:
    for step, files in ((10, ["trainer_state.json", "sparsecore.safetensors"]), (20, ["trainer_state.json"]), (30, [])):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in files:
            (folder / name).write_text("{}")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert last_checkpoint(tmp_path, evolved=False) == str(tmp_path / "checkpoint-20")
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text('{"global_')
    assert last_checkpoint(tmp_path, evolved=False) == str(tmp_path / "checkpoint-10")
    assert last_checkpoint(tmp_path / "none") is None
