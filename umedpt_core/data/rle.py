"""Run-length encoded masks, as competitions publish them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError


def decode_rle(
    text: str,
    shape: tuple[int, int],
    *,
    order: Literal["C", "F"] = "F",
    one_based: bool = True,
    relative: bool = False,
) -> NDArray[np.uint8]:
    """Decode pairs of a run's start and length.

    Args:
        text: Numbers between blanks; empty, or -1, where there is nothing.
        shape: Height and width of the mask.
        order: ``F``: pixels are counted down the columns; ``C``: along the rows.
        one_based: Whether the first pixel is 1, else 0.
        relative: Whether a start is counted from the end of the run before.

    Returns:
        H x W of 0 and 1.

    Raises:
        DataError: The text is no such code, or leads out of the mask.
    """
    if text.strip() in ("", "-1"):
        return np.zeros(shape, np.uint8)
    try:
        starts, lengths = np.array(text.split(), np.int64).reshape(-1, 2).T
    except (ValueError, OverflowError) as error:
        raise DataError(f"no run-length code of starts and lengths: {text[:30]!r}") from error
    if relative:
        starts = np.cumsum(starts + lengths) - lengths
    starts = starts - one_based
    ends = starts + lengths
    size = shape[0] * shape[1]
    if starts.min() < 0 or lengths.min() < 0 or ends.max() > size:
        raise DataError(
            f"a run-length code from {starts.min()} to {ends.max()} leads out of a mask of "
            f"{shape[0]} x {shape[1]}, which is {size} pixels; compare it with the image's size"
        )
    edges = np.zeros(size + 1, np.int64)  # runs may touch or overlap
    np.add.at(edges, starts, 1)
    np.add.at(edges, ends, -1)
    return (edges[:-1].cumsum() > 0).astype(np.uint8).reshape(shape, order=order)
