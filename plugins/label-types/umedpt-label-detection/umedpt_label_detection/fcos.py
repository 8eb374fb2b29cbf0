"""FCOS's locations, targets and losses (Tian et al., ICCV 2019), over all images of a batch."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

RADIUS = 1.5
"""Center sampling: a location is positive within this many strides of a box's center."""
RANGES = (0.0, 64.0, 128.0, 256.0, 512.0, math.inf)
"""The largest distance to an edge, in pixels, that each level is responsible for."""
LARGEST_LOG = 6.0


class Points(NamedTuple):
    """The locations of one level: centers N x 2 (x, y) and stride (x, y), in pixels."""

    centers: Tensor
    stride: Tensor


def grid(pyramid: Any) -> list[Points]:
    """The locations of every level of a pyramid, in row order."""
    levels = []
    for level in pyramid.centerness:
        rows, columns = level.shape[2:]
        stride = level.new_tensor([pyramid.size[1] / columns, pyramid.size[0] / rows])
        y, x = torch.meshgrid(
            torch.arange(rows, device=level.device),
            torch.arange(columns, device=level.device),
            indexing="ij",
        )
        centers = (torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride
        levels.append(Points(centers, stride))
    return levels


def decode(points: Points, raw_BN4: Tensor) -> Tensor:
    """Boxes B x N x 4 (xyxy pixels) from raw distances, whose exponentials count in strides."""
    distance = raw_BN4.clamp(max=LARGEST_LOG).exp() * points.stride.repeat(2)
    low, high = points.centers - distance[..., :2], points.centers + distance[..., 2:]
    return torch.cat([low, high], -1)


def assign(levels: list[Points], boxes_M4: Tensor) -> Tensor:
    """Which box each location of all levels is responsible for.

    A location takes the smallest box that contains it, whose center is near, and whose size suits
    its level.

    Returns:
        Indices into the boxes, -1 for background; one a location.
    """
    centers = torch.cat([points.centers for points in levels])
    if not len(boxes_M4):
        return torch.full((len(centers),), -1, device=centers.device)
    counts = [len(points.centers) for points in levels]
    stride_N2 = torch.cat([p.stride.expand(n, 2) for p, n in zip(levels, counts, strict=True)])
    low, high = (
        torch.cat([centers.new_full((n,), edge) for n, edge in zip(counts, edges, strict=True)])[
            :, None
        ]
        for edges in (RANGES[:-1], RANGES[1:])
    )
    to_edges = torch.cat(
        [centers[:, None] - boxes_M4[:, :2], boxes_M4[:, 2:] - centers[:, None]], -1
    )
    box_centers = (boxes_M4[:, :2] + boxes_M4[:, 2:]) / 2
    near = ((centers[:, None] - box_centers).abs() < RADIUS * stride_N2[:, None]).all(-1)
    reach = to_edges.amax(-1)
    positive_NM = near & (to_edges.amin(-1) > 0) & (reach >= low) & (reach < high)
    area_M = (boxes_M4[:, 2:] - boxes_M4[:, :2]).prod(-1)
    area, index = torch.where(positive_NM, area_M, math.inf).min(1)
    return torch.where(area < math.inf, index, -1)


def centerness(centers: Tensor, boxes: Tensor) -> Tensor:
    """1 at the center of a box, 0 at its edges."""
    low, high = centers - boxes[:, :2], boxes[:, 2:] - centers
    ratios = torch.minimum(low, high) / torch.maximum(low, high).clamp(min=1e-6)
    return ratios.clamp(min=0).prod(-1).sqrt()


def fcos_losses(
    classes: list[Tensor], distances: list[Tensor], pyramid: Any, targets: list[dict[str, Tensor]]
) -> tuple[Tensor, Tensor, Tensor]:
    """The three losses of a batch, normalised by its positive locations.

    Args:
        classes: Logits B x N x C, a level each.
        distances: Raw distances B x N x 4, a level each.
        pyramid: The multi-scale features, for centerness and geometry.
        targets: For each image boxes M x 4 and labels M.

    Returns:
        Focal loss of the classes, generalised IoU loss of the boxes (weighted by centerness),
        cross entropy of the centerness. Without any box all are about 0.
    """
    levels = grid(pyramid)
    centers_N2 = torch.cat([points.centers for points in levels])
    assigned_BN = torch.stack([assign(levels, target["boxes"]) for target in targets])
    logits_BNC = torch.cat(classes, 1)
    hot_BNC = torch.zeros_like(logits_BNC)
    goal_boxes, goal_centers = [], []
    for image, (assigned_N, target) in enumerate(zip(assigned_BN, targets, strict=True)):
        place = (assigned_N >= 0).nonzero().flatten()
        box = assigned_N[place]
        hot_BNC[image, place, target["labels"][box]] = 1
        goal_boxes.append(target["boxes"][box])
        goal_centers.append(centers_N2[place])
    goal_P4, centers_P2 = torch.cat(goal_boxes), torch.cat(goal_centers)
    positive_BN = assigned_BN >= 0
    positives = max(1, len(goal_P4))
    class_loss = sigmoid_focal_loss(logits_BNC, hot_BNC, alpha=0.25, gamma=2, reduction="sum")

    boxes_BN4 = torch.cat([decode(p, d) for p, d in zip(levels, distances, strict=True)], 1)
    goal_P = centerness(centers_P2, goal_P4)
    box_loss_P = generalized_box_iou_loss(boxes_BN4[positive_BN], goal_P4)
    box_loss = (box_loss_P * goal_P).sum() / goal_P.sum().clamp(min=1e-6)

    centerness_BN = torch.cat([level.flatten(1) for level in pyramid.centerness], 1)
    centerness_loss = F.binary_cross_entropy_with_logits(
        centerness_BN[positive_BN], goal_P, reduction="sum"
    )
    return class_loss / positives, box_loss, centerness_loss / positives
