"""Whole images: a case is one instance (paper: Data loading from diverse sources)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .cache import Arrays
from .cases import Case
from .draw import Draw
from .intensity import apply_rule

if TYPE_CHECKING:
    from .tasks import TaskData


def load(task: TaskData, case: Case, seed: int | None) -> Arrays:
    """The image as H x W or H x W x 3, uint8 or float32 in [0, 1].

    Raises:
        DataError: The image cannot be used.
    """
    image = case.image
    if not isinstance(image, np.ndarray):
        raise DataError(
            f"the image is a {type(image).__name__}; the task's instances must be slices, patches "
            "or bags to read it"
        )
    return {"image": apply_rule(task.rule(case), image)}


def cut(task: TaskData, case: Case, arrays: Arrays, draw: Draw) -> tuple[NDArray[Any], Any, int]:
    """The image with its target, and the number of annotations that were dropped.

    Raises:
        DataError: Image or target cannot be used.
    """
    image = in_colour(arrays["image"])
    height, width = image.shape[:2]
    return image, *task.check(case.target, (height, width))


def in_colour(image: NDArray[Any]) -> NDArray[Any]:
    """The image as H x W x 3; grey is repeated.

    Raises:
        DataError: It has another shape than H x W or H x W x 3, or is empty.
    """
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"image has the shape {image.shape}, not H x W or H x W x 3")
    return image
