"""Boxes and masks in the JSON format of COCO."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ..errors import DataError
from ..label_type import IGNORE
from .rle import decode_coco_rle


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image that the file lists.

    Attributes:
        id: What annotations call it.
        file_name: Its file.
        width: In pixels, as the height; only masks need them.
        patient: An addition to COCO's fields.
    """

    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None
    patient: int | str | None = None


def _rings(shape: Any) -> Any:
    """Polygons as arrays, which take a tenth of the memory; a run-length code as it is."""
    if not isinstance(shape, list):
        return shape or []
    try:
        return [np.array(ring, np.float32).reshape(-1, 2) for ring in shape]
    except TypeError as error:
        raise ValueError(str(error)) from error


_Shape = Annotated[list[Any] | dict[str, Any], BeforeValidator(_rings)]


@dataclass(frozen=True, slots=True)
class _Thing:
    """An annotation: x, y, width, height; rings of N x 2 points, or a run-length code."""

    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: bool = False
    segmentation: _Shape = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Category:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class _File:
    images: list[CocoImage]
    annotations: list[_Thing]
    categories: list[_Category]


_FILE = TypeAdapter(_File)
FIELDS = ("images", "annotations", "categories")


class NotCocoError(DataError):
    """A JSON of something else."""


class Coco:
    """An annotation file. It pickles as its path, and a process that unpickles it reads it once.

    Attributes:
        path: The file.
        images: What it lists, in its order.
        categories: Id to name, in the order of the ids, which may have gaps.
        crowds: How many annotations are crowds.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            FileNotFoundError: The file is missing.
            NotCocoError: It is another kind of JSON.
            DataError: It is none, not as COCO has it, or names what it does not list.
        """
        self.path = path
        try:
            content = json.loads(path.read_bytes())
            if not isinstance(content, dict) or not content.keys() >= {*FIELDS}:
                raise NotCocoError(f"{path}: no JSON of COCO, which has {', '.join(FIELDS)}")
            file = _FILE.validate_python(content)
        except ValidationError as error:
            detail = error.errors()[0]
            where = ".".join(map(str, detail["loc"]))
            raise DataError(f"{path}: not as COCO has it: {where}: {detail['msg']}") from error
        except ValueError as error:
            raise DataError(
                f"{path}: cannot be read as JSON ({error}); mend or remove it"
            ) from error
        self.images = file.images
        self.categories: dict[int, str] = {}
        for category in sorted(file.categories, key=lambda category: category.id):
            if (name := self.categories.setdefault(category.id, category.name)) != category.name:
                raise DataError(
                    f"{path}: category {category.id} is '{category.name}' and '{name}'; keep one"
                )
        self.crowds = sum(thing.iscrowd for thing in file.annotations)
        self._sizes = {image.id: (image.height, image.width) for image in file.images}
        self._things: dict[int | str, list[_Thing]] = defaultdict(list)
        for number, thing in enumerate(file.annotations):
            for kind, identity, known in (
                ("image", thing.image_id, self._sizes),
                ("category", thing.category_id, self.categories),
            ):
                if identity not in known:
                    raise DataError(
                        f"{path}: annotations.{number}: there is no {kind} {identity}; add or "
                        "remove it"
                    )
            self._things[thing.image_id].append(thing)

    def __reduce__(self) -> tuple[Callable[[Path], Coco], tuple[Path]]:
        return _opened, (self.path,)

    def boxes(self, image_id: int | str, index: Mapping[int, int]) -> dict[str, NDArray[Any]]:
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
        things = [thing for thing in self._things.get(image_id, []) if not thing.iscrowd]
        boxes = np.array([thing.bbox for thing in things], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [self._class(thing, index) for thing in things]
        return {"boxes": boxes, "labels": np.array(labels, np.int64)}

    def mask(
        self, image_id: int | str, index: Mapping[int, int], *, background: int = 0
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
            DataError: A category has no class, or an annotation no shape, or the image no size.
        """
        height, width = self._sizes[image_id]
        if height is None or width is None:
            raise DataError(f"{self.path}: image {image_id}: no mask without height and width")
        mask = np.full((height, width), background, np.uint8)
        for thing in sorted(
            self._things.get(image_id, []),
            key=lambda thing: (not thing.iscrowd, -thing.bbox[2] * thing.bbox[3]),
        ):
            value = IGNORE if thing.iscrowd else self._class(thing, index)
            try:
                mask[_pixels(thing, mask.shape)] = value
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise DataError(f"{self.path}: image {image_id}: no mask ({error})") from error
        return mask

    def _class(self, thing: _Thing, index: Mapping[int, int]) -> int:
        if thing.category_id not in index:
            name = self.categories[thing.category_id]
            raise DataError(f"{self.path}: category {thing.category_id} ({name}) has no class")
        return index[thing.category_id]


@lru_cache(maxsize=4)
def _opened(path: Path) -> Coco:
    return Coco(path)


def _pixels(thing: _Thing, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a thing is, H x W."""
    if isinstance(thing.segmentation, dict):
        return decode_coco_rle(thing.segmentation, shape)
    if not thing.segmentation:
        raise ValueError("an annotation without segmentation")
    inside = np.zeros(shape, bool)
    for ring in thing.segmentation:
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
