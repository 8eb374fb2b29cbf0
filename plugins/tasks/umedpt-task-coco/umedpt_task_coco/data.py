"""Reading the publisher's layout: {train,val}2017/*.jpg and annotations/instances_*2017.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from errno import ENOENT
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from umedpt_core import Coco, DataError, FileCase

from . import OBJECTS

FOLDER = {"train": "train2017", "test": "val2017"}
"""The labels of the publisher's own test images are not published, so its val serves as test."""

read_annotations = lru_cache(maxsize=2)(Coco)
"""Up to 470 MB, which several splits and both tasks ask for."""


def open_segmentation(root: Path, split: str, options: None) -> list[FileCase]:
    """List the cases of a split; targets are masks, 0 is background. See :func:`open_cases`."""
    return open_cases(root, split, Coco.mask, first=1)


def open_detection(root: Path, split: str, options: None) -> list[FileCase]:
    """List the cases of a split; targets are boxes. See :func:`open_cases`."""
    return open_cases(root, split, Coco.boxes, first=0)


def open_cases(root: Path, split: str, read: Callable[..., Any], first: int) -> list[FileCase]:
    """List the images of a split, those without an object too.

    Args:
        root: The folder that holds ``train2017``, ``val2017`` and ``annotations``.
        split: ``train`` or ``test``.
        read: The method that reads the target.
        first: The class index of the first category.

    Raises:
        FileNotFoundError: The images' folder or the annotations are missing.
        DataError: The annotations are not as COCO has them, or have other categories.
    """
    folder = root / FOLDER[split]
    if not folder.is_dir():
        raise FileNotFoundError(ENOENT, "no such folder", str(folder))
    annotations = read_annotations(root / "annotations" / f"instances_{folder.name}.json")
    if different := set(annotations.categories.values()) ^ set(OBJECTS):
        raise DataError(
            f"{annotations.path}: missing or unknown categories: {', '.join(sorted(different))}; "
            "take the publisher's file"
        )
    index = {key: OBJECTS.index(name) + first for key, name in annotations.categories.items()}
    return [
        FileCase(
            id=f"{folder.name}/{image.file_name}",
            patient=image.file_name,
            path=folder / image.file_name,
            label=partial(read, annotations, image.id, index),
        )
        for image in annotations.images
    ]


GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""The ids up to 90 that no category has."""
ID_OF = dict(zip(OBJECTS, (each for each in range(1, 91) if each not in GAPS), strict=True))
FAKE_OBJECTS = (
    ("toothbrush", 3, (230, 230, 40)),  # small, listed first, and drawn on the person
    ("person", 10, (60, 60, 200)),
    ("stop sign", 7, (200, 40, 40)),
    ("zebra", 8, (240, 240, 240)),
)
"""Category, radius and colour of the fake's objects."""


def make_fake(root: Path, seed: int) -> None:
    """Write 24 + 8 photographs in the publisher's layout.

    The first of each folder shows nothing. The second has, as two of the publisher's, an object
    whose box has no height. Every third shows a crowd.
    """
    rng = np.random.default_rng(seed)
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for folder, start, count in (("train2017", 1, 24), ("val2017", 101, 8)):
        (root / folder).mkdir(exist_ok=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number in range(start, start + count):
            name = f"{number:012}.jpg"
            images.append({"id": number, "file_name": name, "height": 48, "width": 64})
            for thing in _draw(root / folder / name, number - start, rng):
                annotations.append({"id": len(annotations), "image_id": number} | thing)
        content = {
            "info": {"description": "COCO 2017 Dataset", "year": 2017},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": [{"id": ID_OF[name], "name": name} for name in OBJECTS],
        }
        path = root / "annotations" / f"instances_{folder}.json"
        path.write_text(json.dumps(content), encoding="utf-8")


def _draw(path: Path, number: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Write one photograph; its objects as COCO has them."""
    image = rng.integers(90, 130, (48, 64, 3), np.uint8)
    things = []
    centers = [(x, y) for x in (16, 48) for y in (12, 36)]
    rng.shuffle(centers)
    angles = np.arange(0, 2 * np.pi, np.pi / 6)
    placed = zip((centers[0], *centers), FAKE_OBJECTS, strict=False) if number else ()
    for (x, y), (name, radius, colour) in reversed(list(placed)):
        outline = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1).round(2)
        cv2.fillPoly(image, [outline.round().astype(np.int32)], colour[::-1])
        box = [*outline.min(axis=0).tolist(), *np.ptp(outline, axis=0).tolist()]
        things.insert(0, _thing(name, [outline.ravel().tolist()], box, radius**2 * 3.0))
    if number == 1:
        ring = [5.0, 5.0, 5.0, 5.0, 6.0, 5.0, 6.0, 5.0]
        things.append(_thing("chair", [ring], [5, 5, 1, 0], 0.0))
    if number % 3 == 2:
        x, y = (int(edge) for edge in centers[3])
        image[y - 8 : y + 8, x - 12 : x + 12 : 3] = (200, 60, 60)
        runs = [(x - 12) * 48 + y - 8, *[16, 32] * 23, 16]
        code = {"counts": [*runs, 48 * 64 - sum(runs)], "size": [48, 64]}
        things.append(_thing("person", code, [x - 12, y - 8, 24, 16], 384, crowd=1))
    cv2.imwrite(str(path), image)
    return things


def _thing(name: str, shape: Any, box: list[float], area: float, crowd: int = 0) -> dict[str, Any]:
    where = {"segmentation": shape, "bbox": box, "area": area}
    return {"category_id": ID_OF[name], "iscrowd": crowd} | where
