"""A training run that keeps its files in a folder, for the tests that kill it."""

import sys

import numpy as np
import torch

from sparsecore.engine import Settings, Trainer
from sparsecore.evolution import SET
from sparsecore.io import RunFolder
from sparsecore.models.data import ImageData
from sparsecore.models.mlp import MLP
from sparsecore.schedules import Constant

EPOCHS = 12


def trainer():
    torch.set_num_threads(1)
    torch.manual_seed(0)  # the head draws its first values from the global generator
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((40, 8)).astype(np.float32), np.arange(40) % 2
    model = MLP(8, (60, 60), 2, density=0.3, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    evolution = SET(model, optimizer, every=3, zeta=0.3)
    data = ImageData("noise", x, y, x, y, 2, (0.0,), (1.0,))
    settings = Settings(epochs=EPOCHS, batch_size=10, compiled=False)
    return Trainer(model, optimizer, data, settings, lr=Constant(0.05), evolution=evolution)


def train(path):
    """Start the run, or go on with it."""
    run, folder = trainer(), RunFolder(path, keep=2, best="train_loss")
    if folder.checkpoint_path.exists():
        run.load_state_dict(folder.state())
    run.run([folder])


if __name__ == "__main__":
    train(sys.argv[1])
