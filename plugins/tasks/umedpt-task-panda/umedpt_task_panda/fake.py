"""The publisher's layout in miniature: tiled pyramids, written by tifffile."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from umedpt_core import SlideCase, split_by_patient

from .data import BLANK_SLIDE, SHARES

HEIGHT, WIDTH = 512, 1024
SCORES = (("0+0",), ("3+3",), ("3+4",), ("4+3",), ("4+4", "3+5"), ("4+5", "5+5"))
"""The Gleason scores of an ISUP grade."""

MICRONS = {"radboud": (0.4862,), "karolinska": (0.452, 0.5032)}
"""A pixel of level 0, by scanner."""

GLANDS = {2: (205, 160, 205), 3: (150, 90, 170), 4: (115, 55, 140), 5: (80, 25, 110)}
"""The colour of an epithelium by Radboud's code: the worse the darker."""


def make_fake(root: Path, seed: int) -> None:
    """Write 36 slides of all grades and both providers, and one that shows nothing.

    Train and test have every grade of either provider. As in the real set, ``negative`` is
    Radboud's word for 0+0, and one of Radboud's slides has no mask.
    """
    rng = np.random.default_rng(seed)
    for folder in ("train_images", "train_label_masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    slides = [SlideCase(name, name, root, 0) for name in (rng.bytes(16).hex() for _ in range(36))]
    rows = []
    for number, slide in enumerate(itertools.chain(*split_by_patient(slides, SHARES).values())):
        turn, grade = divmod(number, len(SCORES))
        name, provider = slide.id, ("radboud", "karolinska")[turn % 2]
        score = SCORES[grade][turn // 2 % len(SCORES[grade])]
        mpp = MICRONS[provider][turn // 2 % len(MICRONS[provider])]
        image, mask = _biopsy(rng, provider, score)
        _write(root / "train_images" / f"{name}.tiff", image, mpp)
        if number != 3:
            _write(root / "train_label_masks" / f"{name}_mask.tiff", mask, mpp)
        negative = provider == "radboud" and grade == 0
        rows.append((name, provider, grade, "negative" if negative else score))
    _write(root / "train_images" / f"{BLANK_SLIDE}.tiff", _glass(), MICRONS["karolinska"][0])
    _write(root / "train_label_masks" / f"{BLANK_SLIDE}_mask.tiff", 0 * _glass(), 0.452)
    rows.append((BLANK_SLIDE, "karolinska", 0, "0+0"))
    with (root / "train.csv").open("w", newline="", encoding="utf-8") as file:
        header = ("image_id", "data_provider", "isup_grade", "gleason_score")
        csv.writer(file).writerows([header, *sorted(rows)])


def _glass() -> NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH, 3), 245, np.uint8)


def _biopsy(
    rng: np.random.Generator, provider: str, score: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A core of stroma with glands, a stretch of it with cancer, and its mask."""
    middle = HEIGHT / 2 + 40 * np.sin(np.arange(WIDTH) / 150 + rng.uniform(0, 6))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    core = ((abs(y - middle) < 120) & (abs(x - WIDTH / 2) < WIDTH / 2 - 40)).astype(np.uint8)
    patterns = [int(pattern) for pattern in score.split("+") if pattern != "0"]
    cancer = range(start := int(rng.integers(200, 400)), start + 400 if patterns else start)
    image, codes = _glass(), core.copy()
    image[core > 0] = (235, 190, 215) if provider == "radboud" else (225, 160, 200)
    for place, across in itertools.product(range(70, WIDTH - 70, 52), range(-78, 79, 52)):
        at = place + int(rng.integers(8)), round(middle[place]) + across + int(rng.integers(8))
        code = int(rng.choice(patterns)) if at[0] in cancer else 2
        cv2.circle(image, at, 22, GLANDS[code], -1)
        cv2.circle(image, at, 10 if code == 2 else 4, (245, 245, 245), -1)  # the lumen
        cv2.circle(codes, at, 22, code, -1)
    grain = rng.integers(-8, 9, (HEIGHT // 8, WIDTH // 8, 1)).repeat(8, 0).repeat(8, 1)
    image = (image + grain * core[..., None]).clip(0, 255).astype(np.uint8)
    if provider == "karolinska":
        codes = core.copy()
        codes[:, cancer.start : cancer.stop] *= 2
    mask = np.zeros_like(image)
    mask[..., 0] = codes  # green and blue stay empty
    return image, mask


def _write(path: Path, pixels: NDArray[np.uint8], mpp: float) -> None:
    """A pyramid of three levels at 1, 4 and 16, with the resolution in pixels a centimetre."""
    with tifffile.TiffWriter(path) as file:
        for level in range(3):
            size = WIDTH >> 2 * level, HEIGHT >> 2 * level
            file.write(
                cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST),
                tile=(256, 256),
                photometric="rgb",
                compression="deflate",
                subfiletype=int(level > 0),
                resolution=(1e4 / mpp, 1e4 / mpp),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
