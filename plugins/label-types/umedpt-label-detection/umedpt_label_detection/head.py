"""Detection: FCOS (Tian et al., ICCV 2019) on the shared multi-scale decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image

from umedpt_core.drawing import caption, colour
from umedpt_core.label_type import LabelType, small_head

from .fcos import decode, fcos_losses, grid
from .metric import DetectionMetric

PRIOR = 0.01
CLASS_SCALE = 0.25 * (1 - PRIOR) ** 2 * -math.log(PRIOR)  # 1.128: the focal sum at the prior
OVERHANG = 1.0
SCORE, NMS_IOU, PER_LEVEL, PER_IMAGE = 0.05, 0.6, 1000, 100


class Detection(LabelType):
    """Boxes with classes. Raw target: ``{"boxes": N x 4 xyxy pixels, "labels": N indices}``.

    Boxes without area are dropped and counted.

    Args:
        classes: Names; there is no background class.
        class_scale: ``prior``: the class loss / 1.128, its value at the class prior, which makes
            it 1 for any C. ``classes``: / C, as the paper prints it.
    """

    def __init__(
        self, classes: Sequence[str], class_scale: Literal["prior", "classes"] = "prior"
    ) -> None:
        super().__init__(classes)
        if class_scale not in ("prior", "classes"):
            raise ValueError(f"class_scale is 'prior' or 'classes', not {class_scale!r}")
        self.class_scale = CLASS_SCALE if class_scale == "prior" else float(len(self.classes))

    def head(self, dims: Mapping[str, int]) -> DetectionHead:
        """One convolution for classes, one for box distances."""
        return DetectionHead(dims["pyramid"], len(self.classes))

    def loss(self, head: nn.Module, blocks: Any, batch: Any) -> Tensor:
        """(L_class / 1.128 + L_box + L_centerness / ln 2) / 3."""
        pyramid = blocks.pyramid(batch.x_BCHW)
        class_loss, box_loss, centerness_loss = fcos_losses(*head(pyramid), pyramid, batch.target)
        return (class_loss / self.class_scale + box_loss + centerness_loss / math.log(2)) / 3

    def predict(self, head: nn.Module, blocks: Any, x_BCHW: Tensor) -> list[dict[str, Tensor]]:
        """For each image boxes (N x 4 xyxy), labels (N) and scores (N), best first."""
        pyramid = blocks.pyramid(x_BCHW)
        classes, distances = head(pyramid)
        levels = [
            decode(points, distance)
            for points, distance in zip(grid(pyramid), distances, strict=True)
        ]
        return [
            _boxes_of(
                [level[image] for level in classes],
                [level[image] for level in levels],
                [level[image] for level in pyramid.centerness],
                pyramid.size,
            )
            for image in range(len(x_BCHW))
        ]

    def metric(self) -> DetectionMetric:
        """Mean average precision of COCO, at IoU 0.5 and over 0.5 to 0.95."""
        return DetectionMetric(len(self.classes), PER_IMAGE)

    def check(self, target: Any, size: tuple[int, int]) -> tuple[dict[str, np.ndarray], int]:
        """Boxes as N x 4 float32 within the image, labels as N int64."""
        if not isinstance(target, Mapping) or not {"boxes", "labels"} <= target.keys():
            raise ValueError("the target is no dict with boxes and labels")
        boxes = np.asarray(target["boxes"], np.float32).reshape(-1, 4)
        labels = np.asarray(target["labels"]).reshape(-1)
        if len(boxes) != len(labels):
            raise ValueError(f"{len(boxes)} boxes but {len(labels)} labels")
        if not np.isin(labels, np.arange(len(self.classes))).all():
            raise ValueError(
                f"box labels {sorted(set(labels.tolist()))} are outside the classes "
                f"0..{len(self.classes) - 1}"
            )
        limit = np.array([size[1], size[0], size[1], size[0]], np.float32)
        for box in boxes:
            if (
                not np.isfinite(box).all()
                or (box < -OVERHANG).any()
                or (box > limit + OVERHANG).any()
            ):
                raise ValueError(
                    f"box {box.tolist()} is outside the image of {size[1]} x {size[0]}"
                )
        boxes = np.clip(boxes, 0, limit)
        solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        kept = {"boxes": boxes[solid], "labels": labels[solid].astype(np.int64)}
        return kept, int((~solid).sum())

    def collate(self, targets: Sequence[dict[str, np.ndarray]]) -> list[dict[str, Tensor]]:
        """The targets as tensors, one dict an image."""
        return [{key: torch.from_numpy(value) for key, value in t.items()} for t in targets]

    def random_target(self, size: tuple[int, int], rng: np.random.Generator) -> dict[str, Any]:
        """One to five boxes of an eighth to a half of the edges."""
        number = int(rng.integers(1, 6))
        edges = np.array([size[1], size[0]])
        extent = rng.uniform(1 / 8, 1 / 2, (number, 2)) * edges
        corner = rng.uniform(0, 1, (number, 2)) * (edges - extent)
        boxes = np.concatenate([corner, corner + extent], 1).astype(np.float32)
        return {"boxes": boxes, "labels": rng.integers(0, len(self.classes), number)}

    def unbatch(self, prediction: list[dict[str, Tensor]]) -> list[Any]:
        """Dicts of arrays."""
        return [{key: value.cpu().numpy() for key, value in p.items()} for p in prediction]

    def draw(self, image: Any, target: Any) -> Any:
        """Boxes in the colour of their class; predictions from a score of 0.3."""
        image = image.copy()
        scores = target.get("scores", np.ones(len(target["labels"])))
        kept = scores >= 0.3
        for box, label in zip(target["boxes"][kept], target["labels"][kept], strict=True):
            x0, y0, x1, y1 = (round(float(edge)) for edge in box)
            cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), colour(int(label)), 1)
        return caption(image, [f"{int(kept.sum())} boxes"]) if "scores" in target else image

    def classes_in(self, target: dict[str, np.ndarray]) -> set[int]:
        """The classes that have a box."""
        return set(target["labels"].tolist())


class DetectionHead(nn.Module):
    """The task's two convolutions, shared by the levels.

    Args:
        width: Channels of the multi-scale features.
        classes: C.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes = small_head(nn.Conv2d(width, classes, 3, padding=1))
        self.distances = small_head(nn.Conv2d(width, 4, 3, padding=1))
        nn.init.constant_(self.classes.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, pyramid: Any) -> tuple[list[Tensor], list[Tensor]]:
        """Logits B x N x C and raw distances B x N x 4 of each level, N = its height x width."""
        classes = [self.classes(level).flatten(2).mT for level in pyramid.classes]
        distances = [self.distances(level).flatten(2).mT for level in pyramid.boxes]
        return classes, distances


def _boxes_of(
    classes: list[Tensor], boxes: list[Tensor], centerness: list[Tensor], size: tuple[int, int]
) -> dict[str, Tensor]:
    """One image's detections: the class score times the centerness, then suppression."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for logits_NC, boxes_N4, centerness_1HW in zip(classes, boxes, centerness, strict=True):
        p_NC = logits_NC.sigmoid()
        score_NC = p_NC * centerness_1HW.flatten()[:, None].sigmoid()
        place, label = (p_NC > SCORE).nonzero(as_tuple=True)
        score, order = score_NC[place, label].topk(min(PER_LEVEL, len(place)))
        found.append((boxes_N4[place[order]], label[order], score))
    box, label, score = (torch.cat(part) for part in zip(*found, strict=True))
    box = clip_boxes_to_image(box, size)
    kept = batched_nms(box, score, label, NMS_IOU)[:PER_IMAGE]
    return {"boxes": box[kept], "labels": label[kept], "scores": score[kept]}
