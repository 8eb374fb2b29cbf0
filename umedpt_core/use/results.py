"""Writing predictions: tables, masks, boxes and overlays, whatever is written being whole."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.augment import resize
from ..data.slices import axis_of, plane_of
from ..data.tasks import TaskData
from ..drawing import colour
from ..engine.checkpoint import UNFINISHED
from ..label_type import IGNORE
from .loaded import LONGEST, Loaded, picture
from .sheet import grid
from .volumes import slices_of, to_shape, write_like

EVERY = 30.0
"""Seconds between two writes of ``boxes.json``, which is written as a whole."""


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Another name to write a file under, which takes its own only when it is whole."""
    temporary = path.with_name(f"{UNFINISHED}{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Results(Protocol):
    """Where the predictions of a task go."""

    def __init__(self, task: TaskData, folder: Path, overlays: bool) -> None: ...

    def files(self, loaded: Loaded, item: Any) -> dict[str, Any]:
        """Write the files of one prediction and give what to :meth:`add`; runs in any thread.

        Args:
            loaded: The input.
            item: One item of the label type's ``unbatch``, at the size for the model; the mask of
                a volume on the input's grid.
        """

    def add(self, loaded: Loaded, facts: dict[str, Any]) -> None:
        """Note one prediction, in the order of the inputs."""

    def close(self) -> None:
        """Write what is left to write."""


class Table:
    """Numbers and classes: rows of ``predictions.csv``."""

    name = "predictions.csv"

    def __init__(self, task: TaskData, folder: Path, overlays: bool) -> None:
        self.task, self.folder, self.overlays = task, folder, overlays
        self._file: Any = None
        self._writer: Any = None

    def files(self, loaded: Loaded, item: Any) -> dict[str, Any]:
        """The overlay; the columns are those of the label type."""
        if loaded.shown is not None:
            save_overlay(self.folder, loaded, self.task.label.draw(loaded.shown, item))
        return dict(self.task.label.row(item))

    def add(self, loaded: Loaded, facts: dict[str, Any]) -> None:
        """Append a row, at once on the disk."""
        row = {"input": loaded.input.path, "id": loaded.input.id, **facts}
        if self._writer is None:
            path = self.folder / self.name
            self._file = path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
            self._writer = csv.DictWriter(self._file, list(row))
            self._writer.writeheader()
        self._writer.writerow(row)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Masks(Table):
    """Class indices: PNG or NIfTI files under ``masks/``, and their sizes in ``masks.csv``."""

    name = "masks.csv"

    def files(self, loaded: Loaded, item: Any) -> dict[str, Any]:
        """The mask at the input's own size, and the overlay."""
        if len(loaded.shape) == 3:
            place = Path("masks", f"{loaded.input.place}.nii.gz")
            with written(self.folder / place) as file:
                write_like(file, item, loaded.input.path)
            if self.overlays:
                save_overlay(self.folder, loaded, self._nine(loaded, item))
        else:
            place = Path("masks", f"{loaded.input.place}.png")
            if loaded.shown is not None:
                mask = moved(item, loaded, loaded.shown.shape, "mask")
                save_overlay(self.folder, loaded, self.task.label.draw(loaded.shown, mask))
            item = moved(item, loaded, loaded.shape, "mask")
            with written(self.folder / place) as file:
                coloured(item).save(file)
        return {"mask": place.as_posix(), **self._sizes(loaded, item)}

    def _sizes(self, loaded: Loaded, mask: NDArray[np.uint8]) -> dict[str, Any]:
        classes = self.task.label.classes
        names = ("background", *classes) if len(classes) == 1 else classes
        counts = np.bincount(mask.ravel(), minlength=len(names))
        if len(loaded.shape) == 2:
            return {f"pixels_{name}": int(n) for name, n in zip(names, counts, strict=False)}
        volumes = zip(names, counts * loaded.voxel, strict=False)
        return {f"mm3_{name}": round(float(mm3), 3) for name, mm3 in volumes}

    def _nine(self, loaded: Loaded, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Nine slices with their masks, spread over the part that has some."""
        voxels = loaded.images[0]
        mask = to_shape(mask, voxels.shape[:3])
        axis = axis_of(slices_of(self.task).axis, voxels.shape, None)
        others = tuple(a for a in range(3) if a != axis)
        found = np.flatnonzero((mask > 0).any(axis=others))
        first, last = (found[0], found[-1]) if len(found) else (0, voxels.shape[axis] - 1)
        drawn = []
        for place in np.linspace(first, last, 9).round().astype(int):
            image = picture([plane_of(voxels, axis, place)], LONGEST // 3)
            plane = to_shape(mask.take(place, axis), image.shape[:2])
            drawn.append(self.task.label.draw(image, plane))
        return grid(drawn)


class Boxes:
    """Boxes of all inputs in one ``boxes.json``, in COCO's format."""

    def __init__(self, task: TaskData, folder: Path, overlays: bool) -> None:
        self.task, self.folder = task, folder
        categories = [{"id": n, "name": c} for n, c in enumerate(task.label.classes, 1)]
        self._coco: dict[str, list[Any]] = {
            "images": [], "annotations": [], "categories": categories,
        }  # fmt: skip
        self._written = time.monotonic()

    def files(self, loaded: Loaded, item: Any) -> dict[str, Any]:
        """The overlay; the boxes move to the input's own pixels."""
        if loaded.shown is not None:
            boxes = moved(item, loaded, loaded.shown.shape, "boxes")
            save_overlay(self.folder, loaded, self.task.label.draw(loaded.shown, boxes))
        return dict(moved(item, loaded, loaded.shape, "boxes"))

    def add(self, loaded: Loaded, facts: dict[str, Any]) -> None:
        """Take an image with its boxes, clipped to it, to a hundredth of a pixel."""
        height, width = loaded.shape
        images, annotations = self._coco["images"], self._coco["annotations"]
        number = len(images) + 1
        images.append(
            {"id": number, "file_name": loaded.input.id, "width": width, "height": height}
        )
        limit = (width, height, width, height)
        boxes = np.asarray(facts["boxes"], float).reshape(-1, 4).clip(0, limit).round(2)
        for box, label, score in zip(boxes, facts["labels"], facts["scores"], strict=True):
            x, y, x1, y1 = box.tolist()
            w, h = round(x1 - x, 2), round(y1 - y, 2)
            if w <= 0 or h <= 0:
                continue
            facts = {"bbox": [x, y, w, h], "area": round(w * h, 2), "score": round(float(score), 4)}
            ids = {"id": len(annotations) + 1, "image_id": number, "category_id": int(label) + 1}
            annotations.append({**ids, **facts, "iscrowd": 0})
        if time.monotonic() - self._written > EVERY:
            self.close()

    def close(self) -> None:
        """Write the file."""
        with written(self.folder / "boxes.json") as file:
            file.write_text(json.dumps(self._coco))
        self._written = time.monotonic()


def moved(item: Any, loaded: Loaded, shape: tuple[int, ...], geometry: str) -> Any:
    """A prediction at the size for the model, brought to another height and width."""
    image = np.empty((*loaded.images[0].shape[:2], 1), np.uint8)
    return resize(image, item, (shape[0], shape[1]), geometry)[1]


def coloured(mask: NDArray[np.uint8]) -> Image.Image:
    """Class indices as an image that holds them, with a palette in the colours of overlays."""
    image = Image.fromarray(mask)
    palette = [(0, 0, 0), *(colour(index) for index in range(IGNORE - 1)), (128, 128, 128)]
    image.putpalette([value for rgb in palette for value in rgb])
    return image


def save_overlay(folder: Path, loaded: Loaded, drawn: NDArray[np.uint8]) -> None:
    """Write an input with its prediction drawn on it."""
    place = folder / "overlays" / f"{loaded.input.place}.png"
    with written(place) as file:
        Image.fromarray(drawn).save(file, format="PNG")
