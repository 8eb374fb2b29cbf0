"""The two shared decoders (paper: Architecture)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7


class PixelDecoder(nn.Module):
    """U-Net decoder: embeddings at a quarter of the resolution.

    Args:
        channels: Channels of the encoder's levels at strides 4, 8, 16, 32.
        width: Channels of the embeddings.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        # smp drops its first entry, the input itself, which our pyramid does not have.
        self.unet = UnetDecoder((3, *channels), (4 * width, 2 * width, width), n_blocks=3)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """B x width x H/4 x W/4 embeddings, for :func:`upsample`."""
        embeddings: Tensor = self.unet([features[0], *features])
        return embeddings


def upsample(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixel decoder's embeddings at full resolution.

    Args:
        x_BCHW: B x width x H/4 x W/4.
        size: (H, W) of the image.
    """
    return F.interpolate(x_BCHW, size, mode="bilinear", align_corners=False)


class Pyramid(NamedTuple):
    """Multi-scale features for detection: a list of five levels in each field.

    Attributes:
        classes: B x width x H/s x W/s, from the classification tower.
        boxes: B x width x H/s x W/s, from the regression tower.
        centerness: B x 1 x H/s x W/s logits, shared by all tasks.
        size: (height, width) of the image in pixels.
    """

    classes: list[Tensor]
    boxes: list[Tensor]
    centerness: list[Tensor]
    size: tuple[int, int]


class PyramidDecoder(nn.Module):
    """Feature pyramid network with FCOS towers, strides 8, 16, 32, 64, 128.

    The centerness branch sits on the classification tower, as in the paper.

    Args:
        channels: Channels of the encoder's levels at strides 4, 8, 16, 32.
        width: Channels throughout.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.fpn = FeaturePyramidNetwork(
            list(channels[1:]), width, extra_blocks=LastLevelP6P7(width, width)
        )
        self.class_tower = _tower(width)
        self.box_tower = _tower(width)
        self.centerness = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.normal_(self.centerness.weight, std=0.01)
        nn.init.zeros_(self.centerness.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Pyramid:
        """The pyramid for an image of size (H, W)."""
        levels = self.fpn(OrderedDict((str(i), f) for i, f in enumerate(features[1:]))).values()
        classes = [self.class_tower(level) for level in levels]
        return Pyramid(
            classes=classes,
            boxes=[self.box_tower(level) for level in levels],
            centerness=[self.centerness(level) for level in classes],
            size=size,
        )


def _tower(width: int) -> nn.Sequential:
    """Four convolutions with group norm, as in FCOS."""
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(32 if width % 32 == 0 else 1, width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
