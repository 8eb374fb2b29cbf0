"""Reading the publisher's layout: images/NAME.jpg and a mask of the same name in masks/."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from umedpt_core import FileCase, class_folders, read_image, split_by_patient

SHARES = {"train": 0.7, "test": 0.3}
"""The paper's 700 and 300 images; which ones it does not say."""

THRESHOLD = 127
"""Masks are black and white, but JPEG: around an outline there is every grey."""


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the cases of a split, 70 % or 30 % of the images.

    Args:
        root: The folder that holds ``Kvasir-SEG`` (or ``kvasir-seg``), or that one itself.
        split: ``train`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: ``images`` or ``masks`` is missing.
        DataError: One of them holds no JPEG file.
    """
    inner = (root / name for name in ("Kvasir-SEG", "kvasir-seg"))
    base = next((folder for folder in inner if folder.is_dir()), root)
    files = class_folders(base, {"images": 0, "masks": 1}, suffixes=(".jpg",))
    cases = [
        FileCase(
            id=path.relative_to(root).as_posix(),
            patient=path.stem,
            path=path,
            label=partial(read_polyp, base / "masks" / path.name),
        )
        for path, is_mask in files
        if not is_mask
    ]
    return split_by_patient(cases, SHARES)[split]


def read_polyp(path: Path) -> NDArray[np.uint8]:
    """A mask as H x W of 0 and 1, whether the JPEG is stored as grey or as RGB."""
    values = read_image(path)
    grey = values if values.ndim == 2 else values[..., 0]
    return (grey > THRESHOLD).astype(np.uint8)


def make_fake(root: Path, seed: int) -> None:
    """Write 16 images of one polyp each in the publisher's layout; every third mask is RGB."""
    rng = np.random.default_rng(seed)
    base = root / "Kvasir-SEG"
    for folder in ("images", "masks"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    for number in range(16):
        height, width = (48, 64) if number % 2 else (56, 60)
        y, x = np.mgrid[:height, :width]
        center_y, center_x = rng.integers(16, 32, 2)
        radius = rng.integers(6, 13)
        polyp = np.hypot(y - center_y, x - center_x) < radius
        image = np.where(polyp[..., None], (170, 190, 235), (60, 80, 150))  # blue, green, red
        image = (image + rng.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)
        mask = polyp.astype(np.uint8) * 255
        if number % 3 == 0:
            mask = np.repeat(mask[..., None], 3, axis=2)
        name = f"cju{rng.integers(36**10):010x}{number:02}.jpg"
        cv2.imwrite(str(base / "images" / name), image)
        cv2.imwrite(str(base / "masks" / name), mask, (cv2.IMWRITE_JPEG_QUALITY, 75))
