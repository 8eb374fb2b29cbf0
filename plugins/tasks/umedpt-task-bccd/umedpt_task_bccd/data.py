"""Reading the publisher's layout: JPEGImages, Annotations (VOC XML) and ImageSets/Main."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import ElementTree
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from umedpt_core import DataError, FileCase

from . import umedpt_tasks

INDEX = {name: index for index, name in enumerate(next(umedpt_tasks()).classes)}
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the cases of a split.

    Args:
        root: The folder that holds ``BCCD``, or ``BCCD`` itself.
        split: ``train``, ``val`` or ``test``, as ImageSets/Main lists them.
        options: The task has none.

    Raises:
        FileNotFoundError: The list of the split is missing.
    """
    base = root / "BCCD" if (root / "BCCD").is_dir() else root
    names = (base / "ImageSets" / "Main" / f"{split}.txt").read_text(encoding="utf-8").split()
    return [
        FileCase(
            id=(base / "JPEGImages" / f"{name}.jpg").relative_to(root).as_posix(),
            patient=name,
            path=base / "JPEGImages" / f"{name}.jpg",
            label=partial(read_boxes, base / "Annotations" / f"{name}.xml"),
        )
        for name in sorted(names)
    ]


def read_boxes(path: Path) -> dict[str, NDArray[Any]]:
    """Read the boxes and the classes of one annotation.

    VOC counts pixels from 1 and includes the last one. Here an edge lies between pixels: the box
    of the first pixel is 0, 0, 1, 1. An object whose corners coincide is a click, not a cell; it
    keeps an area of 0, so that the label type drops and counts it.

    Raises:
        DataError: The file is missing or is no VOC annotation, or a class is unknown.
    """
    labels, corners = [], []
    try:
        for item in ElementTree.parse(path).getroot().iterfind("object"):
            labels.append(INDEX[item.findtext("name")])
            corners.append([float(item.findtext(f"bndbox/{corner}")) for corner in CORNERS])
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check that the dataset is complete") from error
    except KeyError as error:
        raise DataError(f"{path}: unknown class {error}; known are {', '.join(INDEX)}") from error
    except (ParseError, TypeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a VOC annotation ({error})") from error
    boxes = np.array(corners, np.float32).reshape(-1, 4)
    is_click = (boxes[:, :2] == boxes[:, 2:]).all(axis=1)
    boxes[:, :2] -= 1
    boxes[is_click, 2:] -= 1
    return {"boxes": boxes, "labels": np.array(labels, np.int64)}


CELLS = (("RBC", 5, "#d99a9a"), ("WBC", 7, "#6a3d9a"), ("Platelets", 2, "#8e6bbf"))
"""Name, radius and colour of the fake's cells."""


def make_fake(root: Path, seed: int) -> None:
    """Write 16 smears in the publisher's layout, each with all three kinds of cells."""
    rng = np.random.default_rng(seed)
    base = root / "BCCD"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    names = [f"BloodImage_{number:05}" for number in range(16)]
    for name in names:
        image = Image.new("RGB", (64, 48), "#f0e6e6")
        objects = []
        places = rng.permutation(12)[:5]  # of a grid of 4 x 3 cells of 16 pixels
        for place, kind in zip(places, (0, 0, 0, 1, 2), strict=True):
            cell, radius, colour = CELLS[kind]
            x, y = place % 4 * 16 + 8, place // 4 * 16 + 8
            box = (x - radius, y - radius, x + radius, y + radius)
            ImageDraw.Draw(image).ellipse(box, fill=colour)
            edges = "".join(
                f"<{corner}>{edge + 1}</{corner}>"
                for corner, edge in zip(CORNERS, box, strict=True)
            )
            objects.append(f"<object><name>{cell}</name><bndbox>{edges}</bndbox></object>")
        image.save(base / "JPEGImages" / f"{name}.jpg", quality=95)
        annotation = (
            f"<annotation><filename>{name}.jpg</filename><size><width>64</width>"
            f"<height>48</height><depth>3</depth></size>{''.join(objects)}</annotation>\n"
        )
        (base / "Annotations" / f"{name}.xml").write_text(annotation, encoding="utf-8")
    for split, members in (("train", names[:8]), ("val", names[8:12]), ("test", names[12:])):
        text = "".join(f"{name}\n" for name in members)
        (base / "ImageSets" / "Main" / f"{split}.txt").write_text(text, encoding="utf-8")
