"""The trunk of VGG16."""

from __future__ import annotations

from torch import nn

__all__ = ["vgg16"]

#: Channels of the convolutions of every stage; a pooling layer halves the image behind each.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16(width: float = 1.0) -> tuple[nn.Module, int]:
    """Return the thirteen convolutions of VGG16, and the number of features they give for an image of 32 x 32.

    Parameters
    ----------
    width : float
        Channels of every layer, as a share of the published ones.

    Notes
    -----
    Convolution, batch normalisation and rectifier; no biases, which the normalisation would take out again. Source:
    Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition" (ICLR 2015),
    configuration D.
    """
    layers: list[nn.Module] = []
    n_in = 3
    for stage in _STAGES:
        for channels in stage:
            n_out = max(1, round(width * channels))
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
            n_in = n_out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten()), n_in
