"""Contact sheets: held-out images with their targets above the model's predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..data.augment import resize
from ..data.loader import common_size, open_case
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
        for image, target in _examples(task, split, columns):
            x_BCHW = _tensor(image).to(next(model.parameters()).device)
            (prediction,) = task.label.unbatch(model.predict(name, x_BCHW))
            truth.append(_tile(task, image, target))
            guess.append(_tile(task, image, prediction))
        rows += [[_title(name, "target"), *truth], [_title("", "prediction"), *guess]]
    return _stack(rows)


def _examples(task: TaskData, split: str, number: int) -> list[tuple[NDArray[Any], Any]]:
    """Evenly spread usable cases, resized as in training, not augmented."""
    cases = task.cases[split]
    places = np.unique(np.linspace(0, len(cases) - 1, number).round().astype(int))
    examples = []
    for place in places:
        try:
            image, target, _ = open_case(task, cases[int(place)])
        except Exception:  # noqa: S112  # an unusable case was reported in training
            continue
        size = common_size(task.size, [image.shape[:2]])
        examples.append(resize(image, target, size, task.geometry))
    return examples


def _tensor(image: NDArray[Any]) -> torch.Tensor:
    x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float()
    return x / 255 if image.dtype == np.uint8 else x


def _tile(task: TaskData, image: NDArray[Any], target: Any) -> NDArray[np.uint8]:
    if image.dtype != np.uint8:
        image = (image * 255).round().astype(np.uint8)
    height, width = image.shape[:2]
    size = (TILE, max(1, round(width * TILE / height)))
    image, target = resize(image, target, size, task.geometry)
    return task.label.draw(np.ascontiguousarray(image), target)


def _title(name: str, kind: str) -> NDArray[np.uint8]:
    tile = np.full((TILE, 230, 3), 255, np.uint8)
    for text, y in ((name, 24), (kind, 46)):
        cv2.putText(tile, text, (4, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0,) * 3, 1, cv2.LINE_AA)
    return tile


def _stack(rows: list[list[NDArray[np.uint8]]]) -> Image.Image:
    width = max(sum(tile.shape[1] + MARGIN for tile in row) for row in rows)
    sheet = np.full((len(rows) * (TILE + MARGIN), width, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        x, y = 0, number * (TILE + MARGIN)
        for tile in row:
            sheet[y : y + TILE, x : x + tile.shape[1]] = tile
            x += tile.shape[1] + MARGIN
    return Image.fromarray(sheet)
