"""Drawing the shapes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from . import SHAPES

EDGE = 64


class Options(BaseModel):
    """What a mix can choose.

    Attributes:
        cases: Number of cases, of which 70 % train.
    """

    model_config = ConfigDict(extra="forbid")
    cases: int = Field(600, ge=10)


@dataclass(frozen=True, slots=True)
class ShapesCase:
    """A scene, drawn when it is looked at; its seed is its number.

    Attributes:
        label_type: What the target is.
        number: Decides everything in the scene.
    """

    label_type: str
    number: int

    @property
    def id(self) -> str:
        """Unique within the task."""
        return f"{self.label_type}-{self.number}"

    @property
    def patient(self) -> str:
        """Every scene is a patient of its own."""
        return self.id

    @property
    def image(self) -> np.ndarray:
        """64 x 64 x 3, uint8."""
        return draw_scene(*self._seed())[0]

    @property
    def target(self) -> Any:
        """As the label type asks for it."""
        _, kinds, mask_HW, boxes = draw_scene(*self._seed())
        if self.label_type == "classification":
            return kinds[0]
        if self.label_type == "multilabel":
            return np.isin(np.arange(len(SHAPES)), kinds).astype(np.int8)
        if self.label_type == "segmentation":
            return mask_HW
        return {"boxes": boxes, "labels": np.array(kinds)}

    def _seed(self) -> tuple[int, int]:
        single = self.label_type == "classification"
        salt = ["classification", "multilabel", "segmentation", "detection"].index(self.label_type)
        return self.number * 4 + salt, 1 if single else 3


def draw_scene(seed: int, most: int) -> tuple[np.ndarray, list[int], np.ndarray, np.ndarray]:
    """Draw one to `most` shapes that do not overlap on a dark, noisy ground.

    Returns:
        Image, kinds of the shapes, mask (0 is ground, kind + 1 a shape), boxes N x 4 (xyxy).
    """
    rng = np.random.default_rng(seed)
    ground = rng.integers(20, 90, 3)
    slope = rng.uniform(-0.5, 0.5, (2, 3))
    y, x = np.mgrid[:EDGE, :EDGE]
    image = ground + y[..., None] * slope[0] + x[..., None] * slope[1]
    mask_HW = np.zeros((EDGE, EDGE), np.uint8)
    kinds: list[int] = []
    boxes: list[tuple[int, int, int, int]] = []
    for _ in range(int(rng.integers(1, most + 1))):
        for _ in range(20):
            radius = int(rng.integers(10, 19))
            center = rng.integers(radius, EDGE - radius, 2)
            kind = int(rng.integers(len(SHAPES)))
            shape_HW = draw_shape(SHAPES[kind], center, radius, rng.uniform(-20, 20))
            if not (cv2.dilate(shape_HW, np.ones((5, 5), np.uint8)) & (mask_HW > 0)).any():
                break
        else:
            continue
        image[shape_HW > 0] = rng.integers(130, 256, 3)
        mask_HW[shape_HW > 0] = kind + 1
        kinds.append(kind)
        rows, columns = np.nonzero(shape_HW)
        boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    image = image + rng.normal(0, 8, image.shape)
    return image.clip(0, 255).astype(np.uint8), kinds, mask_HW, np.array(boxes, np.float32)


def draw_shape(name: str, center: np.ndarray, radius: int, angle: float) -> np.ndarray:
    """One shape as a mask of 0 and 1, within `radius` of its center, turned by `angle` degrees."""
    mask_HW = np.zeros((EDGE, EDGE), np.uint8)
    if name == "circle":
        return cv2.circle(mask_HW, center.tolist(), radius, 1, -1)
    corners = {
        "square": [(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)],
        "triangle": [(0, -1), (0.87, 0.5), (-0.87, 0.5)],
    }[name]
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = np.array(corners) @ rotation.T * radius + center
    return cv2.fillPoly(mask_HW, [points.round().astype(np.int32)], 1)


def _open(label_type: str, root: Path | None, split: str, options: Options) -> list[ShapesCase]:
    """All scenes; the core splits them."""
    return [ShapesCase(label_type, number) for number in range(options.cases)]


open_classification = partial(_open, "classification")
open_multilabel = partial(_open, "multilabel")
open_segmentation = partial(_open, "segmentation")
open_detection = partial(_open, "detection")


def make_fake(root: Path, seed: int) -> None:
    """Nothing to write: there is no layout on disk."""
