"""Convolutional networks with heads of links: ``python -m sparsecore.models.cnn OUT``."""

from sparsecore.models.cnn.network import TRUNKS, ConvNet
from sparsecore.models.cnn.recipe import CnnRun, build, load_data, resume, train

__all__ = ["TRUNKS", "CnnRun", "ConvNet", "build", "load_data", "resume", "train"]
