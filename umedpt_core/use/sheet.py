"""Contact sheets: held-out images with their targets above the model's predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..data.augment import resize
from ..data.instances import open_case
from ..data.loader import common_size, fit
from ..data.tasks import TaskData
from ..engine.model import Model

TILE = 192
"""Height of a picture, in pixels."""
MARGIN = 4


@torch.no_grad()
def prediction_sheet(
    model: Model, tasks: Mapping[str, TaskData], split: str, columns: int = 6
) -> Image.Image:
    """Draw some cases of a split: for each task a row of targets above a row of predictions.

    Args:
        model: With a head for every task.
        tasks: With the split opened.
        split: Which one.
        columns: Cases a task, evenly spread over the split.
    """
    model.eval()
    rows: list[list[NDArray[np.uint8]]] = []
    for name, task in tasks.items():
        truth, guess = [], []
        for images, target in _examples(task, split, columns):
            x_BCHW = as_tensor(images).to(next(model.parameters()).device)
            x_BCHW = x_BCHW[None] if task.instances.kind == "bag" else x_BCHW
            (prediction,) = task.label.unbatch(model.predict(name, x_BCHW))
            truth.append(tile(task, images, target))
            guess.append(tile(task, images, prediction))
        rows += [[title([name, "target"]), *truth], [title(["", "prediction"]), *guess]]
    return stack(rows, TILE)


def _examples(task: TaskData, split: str, number: int) -> list[tuple[list[NDArray[Any]], Any]]:
    """Evenly spread usable cases, resized as in training, not augmented."""
    cases = task.cases[split]
    places = np.unique(np.linspace(0, len(cases) - 1, number).round().astype(int))
    examples = []
    for place in places:
        try:
            instance = open_case(task, cases[int(place)])
        except Exception:  # noqa: S112  # an unusable case was reported in training
            continue
        size = common_size(task.instances.size, [image.shape[:2] for image in instance.images])
        examples.append(fit(instance, size, task.geometry))
    return examples


def as_tensor(images: list[NDArray[Any]]) -> torch.Tensor:
    """Images of one size, H x W x 3, as B x 3 x H x W float32 in [0, 1]."""
    x_BHWC = np.stack(images)
    x_BCHW = torch.from_numpy(np.ascontiguousarray(x_BHWC.transpose(0, 3, 1, 2))).float()
    return x_BCHW / 255 if x_BHWC.dtype == np.uint8 else x_BCHW


def tile(task: TaskData, images: list[NDArray[Any]], target: Any) -> NDArray[np.uint8]:
    """A picture of an instance with its target drawn, `TILE` high; a bag shows nine of its images.

    Args:
        task: What the instance is of.
        images: H x W x 3 each, uint8 or float32 in [0, 1]: one, or those of a bag.
        target: A checked target, or one item of the label type's ``unbatch``.
    """
    image = images[0] if len(images) == 1 else grid(images)
    if image.dtype != np.uint8:
        image = (image * 255).round().astype(np.uint8)
    height, width = image.shape[:2]
    size = (TILE, max(1, round(width * TILE / height)))
    geometry = task.geometry if len(images) == 1 else "none"
    image, target = resize(image, target, size, geometry)
    return task.label.draw(np.ascontiguousarray(image), target)


def grid(images: list[NDArray[Any]]) -> NDArray[Any]:
    """Nine images of one size, evenly spread, in three rows."""
    places = np.linspace(0, len(images) - 1, 9).round().astype(int)
    rows = [np.concatenate([images[p] for p in places[r : r + 3]], axis=1) for r in (0, 3, 6)]
    return np.concatenate(rows, axis=0)


def title(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Lines of text as the head of a row."""
    head = np.full((TILE, 230, 3), 255, np.uint8)
    for number, text in enumerate(texts):
        place = (4, 24 + 20 * number)
        cv2.putText(head, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0,) * 3, 1, cv2.LINE_AA)
    return head


def stack(rows: Sequence[Sequence[NDArray[np.uint8]]], height: int) -> Image.Image:
    """Pictures in rows of a height, on white."""
    width = max(sum(picture.shape[1] + MARGIN for picture in row) for row in rows)
    sheet = np.full((len(rows) * (height + MARGIN), width, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        x, y = 0, number * (height + MARGIN)
        for picture in row:
            sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
            x += picture.shape[1] + MARGIN
    return Image.fromarray(sheet)
