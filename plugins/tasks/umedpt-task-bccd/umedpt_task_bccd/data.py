"""Reading the publisher's layout: JPEGImages, Annotations (VOC XML) and ImageSets/Main."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from umedpt_core import FileCase, read_voc

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
            label=partial(read_voc, base / "Annotations" / f"{name}.xml", INDEX),
        )
        for name in sorted(names)
    ]


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
