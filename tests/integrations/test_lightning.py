from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

lightning = pytest.importorskip("lightning", reason="lightning is not installed")

import sparsecore as sc  # noqa: E402
from sparsecore.integrations.lightning import EvolutionCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the library warns about workers, loggers and itself


class Net(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 3))
        sc.sparsify(self.net, density=0.3, seed=0)

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        return self.net(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def fit(folder: Path, epochs: int, resume: Path | None = None) -> tuple[Net, EvolutionCallback, Path]:
    callback = EvolutionCallback(sc.RigL, every=2)
    logger = lightning.pytorch.loggers.CSVLogger(folder, version=epochs)
    trainer = lightning.Trainer(
        max_epochs=epochs, accumulate_grad_batches=2, accelerator="cpu", callbacks=[callback], logger=logger,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, log_every_n_steps=1,
    )  # fmt: skip
    data = torch.randn(16, 12, generator=torch.Generator().manual_seed(1))
    model = Net()
    trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=2), ckpt_path=resume, weights_only=False)
    path = folder / f"{epochs}.ckpt"
    trainer.save_checkpoint(path)
    return model, callback, path


def test_lightning_trains_logs_and_resumes_with_the_same_bits(tmp_path: Path) -> None:
    whole, callback, _ = fit(tmp_path, 2)
    _, _, path = fit(tmp_path, 1)
    resumed, again, _ = fit(tmp_path, 2, path)
    assert callback.evolution.report().step == again.evolution.report().step == 8
    assert callback.evolution.report().updates == 4
    for (name, a), (_, b) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    metrics = next(tmp_path.rglob("version_2/metrics.csv")).read_text()
    assert "sparsecore/anp" in metrics
