"""A convolutional trunk and a head of links."""

from __future__ import annotations

import math

import torch
from torch import nn

from sparsecore.errors import ShapeError, UnknownNameError, check_count, check_positive
from sparsecore.models.cnn.resnet import resnet50
from sparsecore.models.cnn.vgg import vgg16
from sparsecore.models.mlp import MLP
from sparsecore.nn.linear import TopologySource

__all__ = ["TRUNKS", "ConvNet"]

#: The convolutional parts there are.
TRUNKS = {"resnet50": resnet50, "vgg16": vgg16}


class ConvNet(nn.Module):
    """VGG16 or ResNet-50 with three sparse layers and a dense output layer in place of the classifier.

    Parameters
    ----------
    trunk : {"vgg16", "resnet50"}
        The convolutional part.
    n_classes : int
        Size of the output.
    density : float
        Fraction of links of every layer of the head in (0, 1]; 1 builds dense ones.
    scale : int
        Neurons of each of the three layers over features of the trunk: 1 and 2 are the papers' "1x" and "2x".
    width : float
        Channels of the trunk, as a share of the published ones.
    image : tuple of int
        Channels, height and width of an image; samples are flat rows of it.
    topology : callable, optional
        Generator of the first links; uniformly random when missing.
    seed : int
        Seed of links and of all initial values of the head; the trunk is drawn from torch's global generator.

    Raises
    ------
    UnknownNameError
        If there is no such trunk.

    Notes
    -----
    Source: Zhang et al., "Epitopological learning and Cannistraci-Hebb network shape intelligence brain-inspired theory
    for ultra-sparse advantage in deep learning" (ICLR 2024): the fully connected part is three sparse layers as wide as
    their input (1x) or twice as wide (2x). Convolutions stay dense.

    Examples
    --------
    >>> net = ConvNet("vgg16", 10, density=0.01, width=0.25)
    >>> [layer.topology.n_links for layer in net.head.hidden if hasattr(layer, "topology")], net.n_features
    ([164, 164, 164], 128)
    """

    def __init__(
        self,
        trunk: str,
        n_classes: int,
        *,
        density: float,
        scale: int = 1,
        width: float = 1.0,
        image: tuple[int, int, int] = (3, 32, 32),
        topology: TopologySource | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if trunk not in TRUNKS:
            raise UnknownNameError("trunk", trunk, TRUNKS)
        check_count("scale", scale, "the neurons of a layer of the head per feature of the trunk", low=1)
        check_positive("width", width, "the channels of the trunk, as a share of the published ones")
        self.image = image
        self.trunk, self.n_features = TRUNKS[trunk](width)
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        hidden = (scale * self.n_features,) * 3
        self.head = MLP(self.n_features, hidden, n_classes, density=density, topology=topology, seed=seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class scores, (B, n_classes), of images (B, channels, height, width) or flat rows of them."""
        if x.shape[1:].numel() != math.prod(self.image):
            raise ShapeError(f"Expected images of {' x '.join(map(str, self.image))}. Got {tuple(x.shape[1:])}.")
        scores: torch.Tensor = self.head(self.trunk(x.reshape(-1, *self.image)))
        return scores
