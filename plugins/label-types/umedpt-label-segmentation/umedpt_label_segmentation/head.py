"""Segmentation: one convolution on the pixel embeddings, Dice and focal loss, mean IoU and Dice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umedpt_core.drawing import colour
from umedpt_core.label_type import IGNORE, LabelType, pick, small_head

FOCAL_GAMMA = 2


class Segmentation(LabelType):
    """One class a pixel. Raw target: H x W class indices, 255 where unknown.

    A single class is foreground against background: masks hold 0 and 1, and the losses see the
    two classes [1 - p, p].
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self.indices = max(2, len(self.classes))
        if self.indices > IGNORE:
            raise ValueError(f"segmentation takes at most {IGNORE} classes")

    def head(self, dims: Mapping[str, int]) -> nn.Conv2d:
        """A 1 x 1 convolution, D -> C."""
        return small_head(nn.Conv2d(dims["pixels"], len(self.classes), 1))

    def loss(self, head: nn.Module, blocks: Any, batch: Any) -> Tensor:
        """Dice and focal loss, equally weighted, each scaled to 1 for uniform predictions."""
        logits_BCHW = self._logits(head, blocks, batch.x_BCHW)
        known_BHW = batch.target != IGNORE
        logits_NC = logits_BCHW.movedim(1, -1)[known_BHW]
        target_N = batch.target[known_BHW]
        C = self.indices
        dice = dice_loss(logits_NC, target_N) * C / (C - 1)
        focal = focal_loss(logits_NC, target_N) / ((1 - 1 / C) ** FOCAL_GAMMA * math.log(C))
        return (dice + focal) / 2

    def predict(self, head: nn.Module, blocks: Any, x_BCHW: Tensor) -> Tensor:
        """B x H x W class indices."""
        return self._logits(head, blocks, x_BCHW).argmax(1)

    def _logits(self, head: nn.Module, blocks: Any, x_BCHW: Tensor) -> Tensor:
        logits_BCHW = head(blocks.pixels(x_BCHW))
        if len(self.classes) == 1:
            return torch.cat([torch.zeros_like(logits_BCHW), logits_BCHW], 1)
        return logits_BCHW

    def metric(self) -> SegmentationMetric:
        """Mean IoU and Dice."""
        return SegmentationMetric(self.classes)

    def check(self, target: Any, size: tuple[int, int]) -> tuple[np.ndarray, int]:
        """The mask as uint8."""
        mask = np.asarray(target)
        if mask.shape != size:
            raise ValueError(f"mask of shape {mask.shape} for an image of shape {size}")
        if mask.dtype.kind not in "biu":
            raise ValueError(f"mask of {mask.dtype}, which holds no class indices")
        wrong = (mask != IGNORE) & ((mask < 0) | (mask >= self.indices))
        if wrong.any():
            value = mask[wrong][0]
            raise ValueError(f"mask holds {value}, outside the classes 0..{self.indices - 1}")
        return mask.astype(np.uint8), 0

    def collate(self, targets: Sequence[np.ndarray]) -> Tensor:
        """B x H x W, int64."""
        return torch.from_numpy(np.stack(targets)).long()

    def random_target(self, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """A rectangle of each class on background."""
        mask = np.zeros(size, np.uint8)
        for index in rng.permutation(np.arange(1, self.indices)):
            y, x = (rng.integers(0, edge // 2) for edge in size)
            height, width = (rng.integers(edge // 4, edge // 2 + 1) for edge in size)
            mask[y : y + height, x : x + width] = index
        return mask

    def unbatch(self, prediction: Tensor) -> list[Any]:
        """H x W class indices, uint8."""
        return list(prediction.cpu().numpy().astype(np.uint8))

    def draw(self, image: Any, target: Any) -> Any:
        """Every class but the first in its colour, half transparent; unknown pixels in grey."""
        image = image.copy()
        for index in np.unique(target):
            if index:
                tint = (128, 128, 128) if index == IGNORE else colour(int(index) - 1)
                image[target == index] = image[target == index] // 2 + np.array(tint, np.uint8) // 2
        return image

    def classes_in(self, target: np.ndarray) -> set[int]:
        """The classes that occur, but the background; that of a single class is 0."""
        found = set(np.unique(target).tolist()) - {IGNORE}
        if len(self.classes) == 1:
            return {0} if 1 in found else set()
        return found - {0} if self.classes[0] == "background" else found


def dice_loss(logits_NC: Tensor, target_N: Tensor) -> Tensor:
    """Soft Dice loss over the pixels of a batch, averaged over the classes that occur in it."""
    p_NC = logits_NC.softmax(1)
    hot_NC = F.one_hot(target_N, logits_NC.shape[1]).to(p_NC.dtype)
    size_C = hot_NC.sum(0)
    dice_C = 2 * (p_NC * hot_NC).sum(0) / (p_NC.sum(0) + size_C).clamp(min=1e-6)
    present_C = (size_C > 0).to(p_NC.dtype)
    return ((1 - dice_C) * present_C).sum() / present_C.sum().clamp(min=1)


def focal_loss(logits_NC: Tensor, target_N: Tensor) -> Tensor:
    """Softmax focal loss, gamma 2, without class weights."""
    log_p_N = -F.cross_entropy(logits_NC, target_N, reduction="none")
    losses_N = -((1 - log_p_N.exp()) ** FOCAL_GAMMA) * log_p_N
    return losses_N.sum() / max(1, len(losses_N))


class SegmentationMetric:
    """Mean IoU over all classes and mean Dice over the foreground, from the pixels of a split.

    Classes that occur neither in targets nor in predictions count nowhere. The baselines are what
    constant predictions reach: for IoU the most frequent class everywhere, for Dice each
    foreground class everywhere.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.indices = max(2, len(classes))
        self.background = len(classes) == 1 or classes[0] == "background"
        self._counts: list[Tensor] = []

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add B x H x W class indices, predicted and true."""
        B, C = len(target), self.indices
        first_B = torch.arange(B, device=target.device) * C
        known = target != IGNORE
        pairs = ((target + first_B[:, None, None]) * C + prediction)[known]
        confusion_BCC = pairs.bincount(minlength=B * C * C).view(B, C, C)
        # All that the metrics need, in C numbers an image where the matrix has C x C.
        hit_BC = confusion_BCC.diagonal(dim1=1, dim2=2)
        counts = torch.stack([hit_BC, confusion_BCC.sum(2), confusion_BCC.sum(1)], 1)
        self._counts.append(counts.cpu())

    def compute(self, chosen: Sequence[int] | None = None) -> dict[str, float]:
        """The metrics; one without any class to average over is left out."""
        hit, true, predicted = pick(self._counts, chosen).sum(0).double()
        seen = true + predicted > 0
        iou = hit / (true + predicted - hit).clamp(min=1)
        dice = 2 * hit / (true + predicted).clamp(min=1)
        share = true / true.sum().clamp(min=1)
        front = slice(1 if self.background else 0, None)
        most_frequent = torch.arange(self.indices) == share.argmax()
        values = {
            "miou": iou[seen],
            "dice": dice[front][seen[front]],
            "miou_baseline": (share * most_frequent)[true > 0],
            "dice_baseline": (2 * share / (1 + share))[front][true[front] > 0],
        }
        return {name: float(value.mean()) for name, value in values.items() if len(value)}
