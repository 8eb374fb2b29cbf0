"""Contact sheets of a task as training sees it: augmented instances with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..counters import seed_of
from ..data.augment import Augmentation
from ..data.cases import Case
from ..data.draw import Draw
from ..data.instances import cut, kind_of
from ..data.loader import common_size, fit
from ..data.tasks import TaskData
from ..errors import reason
from .sheet import TILE, stack, tile, title

FOOT = 16
"""Height of the line under a picture, in pixels."""


def preview_sheet(
    task: TaskData, split: str, *, cases: int = 4, instances: int = 4, seed: int = 0
) -> Image.Image:
    """Draw some cases of a task: a row each, first as in evaluation, then as training sees it.

    Beside a row stands what the file holds and what the intensity rule made of it, under each
    picture the range of its values. A case that cannot be used shows why.

    Args:
        task: With the split opened.
        split: Which one.
        cases: Rows, evenly spread over the split.
        instances: Augmented instances a row.
        seed: Decides the augmentation.
    """
    places = np.unique(np.linspace(0, len(task.cases[split]) - 1, cases).round().astype(int))
    augment = Augmentation(task.augmentation, task.geometry)
    rows = []
    for place in places:
        case = task.cases[split][int(place)]
        try:
            rows.append(_row(task, case, augment, instances, seed_of(seed, "preview", case.id)))
        except Exception as error:  # a plugin's reader may raise anything
            rows.append([title([_short(case.id), "cannot be used:", *_lines(reason(error))])])
    return stack(rows, TILE + FOOT)


def _row(
    task: TaskData, case: Case, augment: Augmentation, instances: int, seed: int
) -> list[NDArray[np.uint8]]:
    kind, of = kind_of(task), task.per_case
    arrays = kind.load(task, case, None)
    plain = cut(task, case, arrays, Draw(of // 2, of))
    texts = [_short(case.id), *_values(case), f"rule: {_rule(task, case)}", "first: not augmented"]
    row = [title(texts), _picture(task, plain.images, plain.target)]
    arrays = kind.load(task, case, seed)
    for number in range(instances):
        draw = Draw(number % of, of, seed_of(seed, number), seed_of(seed, "batch", number))
        instance = cut(task, case, arrays, draw)
        size = common_size(task.instances.size, [image.shape[:2] for image in instance.images])
        images, target = fit(instance, size, task.geometry, augment, draw.seed)
        row.append(_picture(task, images, target))
    return row


def _picture(task: TaskData, images: Sequence[NDArray[Any]], target: Any) -> NDArray[np.uint8]:
    """The instance with its target, above the range of its values."""
    picture = tile(task, list(images), target)
    values = np.stack(images)
    low, high = values.min(), values.max()
    foot = np.full((FOOT, picture.shape[1], 3), 255, np.uint8)
    text = f"{low} to {high}" if values.dtype == np.uint8 else f"{low:.2f} to {high:.2f}"
    cv2.putText(foot, text, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0,) * 3, 1, cv2.LINE_AA)
    return np.concatenate([picture, foot])


def _values(case: Case) -> list[str]:
    """What the file holds, before the intensity rule."""
    image: Any = case.image
    if hasattr(image, "dimensions"):
        return ["slide " + " x ".join(map(str, image.dimensions))]
    values = getattr(image, "voxels", image)
    shape = " x ".join(map(str, values.shape))
    low, high = (f"{float(value):.4g}" for value in (values.min(), values.max()))
    return [f"{values.dtype} {shape}", f"{low} to {high}"]


def _rule(task: TaskData, case: Case) -> str:
    return task.rule(case).rpartition(":")[2]


def _short(name: str) -> str:
    return Path(name).name[-26:]


def _lines(text: str, width: int = 28) -> list[str]:
    return [text[start : start + width] for start in range(0, min(len(text), 7 * width), width)]
