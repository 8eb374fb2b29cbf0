"""Boxes and masks in the JSON format of COCO."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..label_type import IGNORE


class CocoImage(NamedTuple):
    """An image that the file lists: its id, the name of its file, and its size in pixels."""

    id: int
    name: str
    width: int
    height: int


class _Thing(NamedTuple):
    """An annotation: x, y, width, height; rings of N x 2 points, or a run-length code."""

    category: int
    box: tuple[float, float, float, float]
    is_crowd: bool
    shape: list[NDArray[np.float32]] | dict[str, Any]


class Coco:
    """An annotation file. It pickles as its path, and a process that unpickles it reads it once.

    Attributes:
        path: The file.
        images: What it lists, in its order.
        categories: Id to name, in the order of the ids, which may have gaps.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            FileNotFoundError: The file is missing.
            DataError: It is no such JSON, or names an image or a category that it does not list.
        """
        self.path = path
        self._things: dict[int, list[_Thing]] = defaultdict(list)
        try:
            content = json.loads(path.read_bytes())
            self.images = [
                CocoImage(
                    image["id"], image["file_name"], int(image["width"]), int(image["height"])
                )
                for image in content["images"]
            ]
            names = {category["id"]: category["name"] for category in content["categories"]}
            self.categories: dict[int, str] = dict(sorted(names.items()))
            self._sizes = {image.id: (image.height, image.width) for image in self.images}
            for item in content["annotations"]:
                self._things[item["image_id"]].append(_thing(item))
        except KeyError as error:
            raise DataError(f"{path}: no field {error}, which COCO's format has") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: cannot be read as a JSON of COCO ({error})") from error
        if strange := self._things.keys() - self._sizes.keys():
            raise DataError(f"{path}: annotates image {min(strange)}, which it does not list")

    def __reduce__(self) -> tuple[Callable[[Path], Coco], tuple[Path]]:
        return _opened, (self.path,)

    def boxes(self, image_id: int, index: Mapping[int, int]) -> dict[str, NDArray[Any]]:
        """The boxes of an image without crowds.

        Args:
            image_id: The id of an image that the file lists.
            index: Category id to class index.

        Returns:
            A raw target of detection: ``boxes``, N x 4 float32 (x0, y0, x1, y1) in pixels;
            ``labels``, N int64.

        Raises:
            DataError: A category has no class.
        """
        things = [thing for thing in self._things.get(image_id, []) if not thing.is_crowd]
        boxes = np.array([thing.box for thing in things], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [self._class(thing, index) for thing in things]
        return {"boxes": boxes, "labels": np.array(labels, np.int64)}

    def mask(
        self, image_id: int, index: Mapping[int, int], *, background: int = 0
    ) -> NDArray[np.uint8]:
        """The classes of an image's pixels; the thing with the smaller box hides the larger.

        A pixel is of a polygon where its center is, as COCO's areas are.

        Args:
            image_id: The id of an image that the file lists.
            index: Category id to class index.
            background: The class of pixels that nothing covers.

        Returns:
            H x W of class indices, 255 in crowds where no single thing is known.

        Raises:
            DataError: A category has no class, or an annotation no shape.
        """
        mask = np.full(self._sizes[image_id], background, np.uint8)
        for thing in sorted(
            self._things.get(image_id, []),
            key=lambda thing: (not thing.is_crowd, -thing.box[2] * thing.box[3]),
        ):
            value = IGNORE if thing.is_crowd else self._class(thing, index)
            try:
                mask[_pixels(thing, mask.shape)] = value
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise DataError(f"{self.path}: image {image_id}: no mask ({error})") from error
        return mask

    def _class(self, thing: _Thing, index: Mapping[int, int]) -> int:
        if thing.category not in index:
            name = self.categories.get(thing.category, "which it does not list")
            raise DataError(f"{self.path}: category {thing.category} ({name}) has no class")
        return index[thing.category]


@lru_cache(maxsize=4)
def _opened(path: Path) -> Coco:
    return Coco(path)


def _thing(item: dict[str, Any]) -> _Thing:
    shape = item.get("segmentation") or []
    if isinstance(shape, list):
        shape = [np.array(ring, np.float32).reshape(-1, 2) for ring in shape]
    x, y, width, height = map(float, item["bbox"])
    box = (x, y, width, height)
    return _Thing(item["category_id"], box, bool(item.get("iscrowd")), shape)


def _pixels(thing: _Thing, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a thing is, H x W."""
    if isinstance(thing.shape, dict):
        counts = thing.shape["counts"]
        runs = _uncompressed(counts) if isinstance(counts, str) else counts
        if tuple(thing.shape["size"]) != shape or sum(runs) != shape[0] * shape[1]:
            raise ValueError(f"a run-length code of {thing.shape['size']} in an image of {shape}")
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape, order="F")
    if not thing.shape:
        raise ValueError("an annotation without segmentation")
    inside = np.zeros(shape, bool)
    for ring in thing.shape:
        _fill(inside, ring)
    return inside


def _fill(inside: NDArray[np.bool_], ring: NDArray[np.float32]) -> None:
    """Set the pixels whose centers a ring encloses, counting its crossings along each row."""
    height, width = inside.shape
    low = np.floor(ring.min(axis=0)).clip(0, (width, height)).astype(int)
    high = np.ceil(ring.max(axis=0)).clip(low, (width, height)).astype(int)
    (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, axis=0).T
    y = np.arange(low[1], high[1])[:, None] + 0.5
    row, edge = np.nonzero((y >= np.minimum(y0, y1)) & (y < np.maximum(y0, y1)))
    along = (y[row, 0] - y0[edge]) / (y1[edge] - y0[edge])
    x = x0[edge] + along * (x1[edge] - x0[edge])
    crossings = np.zeros((high[1] - low[1], high[0] - low[0] + 1), np.int32)
    column = np.ceil(x - 0.5).astype(int).clip(low[0], high[0]) - low[0]
    np.add.at(crossings, (row, column), 1)
    box = inside[low[1] : high[1], low[0] : high[0]]
    box |= crossings.cumsum(axis=1)[:, :-1] % 2 == 1


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
