"""Run-length encoded masks, as competitions publish them."""

from __future__ import annotations

from typing import Any, Literal

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


def decode_coco_rle(code: dict[str, Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Decode COCO's runs of zeros and ones by turns, down the columns: a list, or a string.

    Raises:
        ValueError: It is no such code, or not of this shape. So are KeyError and TypeError.
    """
    counts = code["counts"]
    runs = _uncompressed(counts) if isinstance(counts, str) else counts
    if tuple(code["size"]) != shape or sum(runs) != shape[0] * shape[1]:
        raise ValueError(f"a run-length code of {code['size']} in an image of {shape}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape, order="F")


def _uncompressed(code: str) -> list[int]:
    """The runs in COCO's compressed string.

    A character holds five bits, the lowest first, and a sixth that says whether more follow; a
    number is signed, and from the fourth on the difference to the last but one.
    """
    runs: list[int] = []
    value = bits = 0
    for character in code.encode():
        part = character - 48
        value |= (part & 31) << bits
        bits += 5
        if not part & 32:
            if part & 16:
                value -= 1 << bits
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = bits = 0
    return runs
