"""From maps of instances, as nuclei are often published, to boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError


def boxes_of_instances(
    map_HW: NDArray[Any], classes: NDArray[Any] | Mapping[int, int] | None = None
) -> dict[str, NDArray[Any]]:
    """The box of every instance of a map; all pixels of an id are one instance, connected or not.

    Args:
        map_HW: An id of at least 1 an instance, 0 where there is none.
        classes: Class indices: by id, or H x W, of which an instance takes the most frequent one
            (the lowest of several). None: all are of class 0.

    Returns:
        A raw target of detection, in the order of the ids: ``boxes``, N x 4 float32 (x0, y0, x1,
        y1) in pixels, edges between pixels; ``labels``, N int64.

    Raises:
        DataError: A shape does not fit, or an id has no class.
    """
    if map_HW.ndim != 2:
        raise DataError(f"a map of instances is H x W, this has the shape {map_HW.shape}")
    y, x = np.nonzero(map_HW > 0)
    ids, which = np.unique(map_HW[y, x], return_inverse=True)
    boxes = np.empty((len(ids), 4), np.float32)
    boxes[:, :2], boxes[:, 2:] = np.inf, -np.inf
    for column, values, extreme in (
        (0, x, np.minimum),
        (1, y, np.minimum),
        (2, x + 1, np.maximum),
        (3, y + 1, np.maximum),
    ):
        extreme.at(boxes[:, column], which, values.astype(np.float32))
    return {"boxes": boxes, "labels": _labels(ids, which, (y, x), map_HW.shape, classes)}


def _labels(
    ids: NDArray[Any],
    which: NDArray[np.intp],
    pixels: tuple[NDArray[np.intp], NDArray[np.intp]],
    shape: tuple[int, ...],
    classes: NDArray[Any] | Mapping[int, int] | None,
) -> NDArray[np.int64]:
    if classes is None:
        return np.zeros(len(ids), np.int64)
    if isinstance(classes, Mapping):
        if lacking := sorted({int(i) for i in ids} - set(classes)):
            raise DataError(f"instance {lacking[0]} has no class; {len(lacking)} have none")
        return np.array([classes[int(i)] for i in ids], np.int64)
    if classes.shape != shape:
        raise DataError(f"the map of classes is {classes.shape}, that of instances {shape}")
    kinds, kind = np.unique(classes[pixels], return_inverse=True)
    votes = np.bincount(which * len(kinds) + kind, minlength=len(ids) * len(kinds))
    winner = votes.reshape(len(ids), len(kinds)).argmax(axis=1) if len(ids) else []
    return kinds[winner].astype(np.int64)
