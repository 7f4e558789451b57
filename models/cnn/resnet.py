"""The trunk of ResNet-50."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["Bottleneck", "resnet50"]

#: Blocks and channels of every stage; all but the first halve the image.
_STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))

#: Channels behind a block over channels inside it.
_EXPANSION = 4


class Bottleneck(nn.Module):
    """Three convolutions (1, 3, 1) around which the input is added.

    Parameters
    ----------
    n_in : int
        Channels of the input.
    n_inside : int
        Channels of the convolutions inside; four times as many come out.
    stride : int
        Of the middle convolution.
    """

    def __init__(self, n_in: int, n_inside: int, stride: int) -> None:
        super().__init__()
        n_out = _EXPANSION * n_inside
        self.layers = nn.Sequential(
            *_convolution(n_in, n_inside, 1),
            nn.ReLU(inplace=True),
            *_convolution(n_inside, n_inside, 3, stride),
            nn.ReLU(inplace=True),
            *_convolution(n_inside, n_out, 1),
        )
        same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(n_in, n_out, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features, (B, 4 n_inside, height / stride, width / stride)."""
        return torch.relu(self.layers(x) + self.shortcut(x))


def resnet50(width: float = 1.0) -> tuple[nn.Module, int]:
    """Return ResNet-50 without its classifier, and the number of features it gives.

    Parameters
    ----------
    width : float
        Channels of every layer, as a share of the published ones.

    Notes
    -----
    The first convolution is 3 x 3 and nothing is pooled behind it, as is usual for images of 32 x 32. Source: He et
    al., "Deep residual learning for image recognition" (CVPR 2016).
    """
    n_in = max(1, round(width * 64))
    layers: list[nn.Module] = [*_convolution(3, n_in, 3), nn.ReLU(inplace=True)]
    for stage, (blocks, channels) in enumerate(_STAGES):
        n_inside = max(1, round(width * channels))
        for block in range(blocks):
            layers.append(Bottleneck(n_in, n_inside, 2 if stage > 0 and block == 0 else 1))
            n_in = _EXPANSION * n_inside
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), n_in


def _convolution(n_in: int, n_out: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(n_out)]
