"""Reading the publisher's layout: a folder of cores a block, and masks of the patterns."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from umedpt_core import DataError, FileCase, class_folders, read_mask

BLOCKS = {
    "train": (
        *("ZT111_4_A", "ZT111_4_B", "ZT111_4_C"),
        *("ZT199_1_A", "ZT199_1_B"),
        *("ZT204_6_A", "ZT204_6_B"),
    ),
    "val": ("ZT76_39_A", "ZT76_39_B"),
    "test": ("ZT80_38_A", "ZT80_38_B", "ZT80_38_C"),
}
"""The folders of each split, which is made of whole microarrays."""

MASKS = {
    "train": "Gleason_masks_train/mask_",
    "val": "Gleason_masks_train/mask_",
    "test": "Gleason_masks_test_pathologist1/mask1_",
}
"""The folder of the masks and how their names begin; both are by the first pathologist."""

UNLABELLED = 4
"""In a mask 0 is benign, 1 to 3 are the Gleason patterns 3 to 5."""


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the cores of a split that have a mask.

    Args:
        root: The folder that holds the folders of all archives.
        split: ``train``, ``val`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: A folder is missing.
        DataError: A folder holds no core, or no core has a mask.
    """
    cores = class_folders(root, dict.fromkeys(BLOCKS[split], 0), suffixes=(".jpg",))
    masks = [root / f"{MASKS[split]}{path.stem}.png" for path, _ in cores]
    if not any(mask.is_file() for mask in masks):
        raise DataError(f"{masks[0].parent}: no {masks[0].name} or other mask; unpack it again")
    return [
        FileCase(path.relative_to(root).as_posix(), path.stem, path, partial(read_patterns, mask))
        for (path, _), mask in zip(cores, masks, strict=True)
        if mask.is_file()
    ]


def read_patterns(path: Path) -> list[int]:
    """Whether a core shows benign tissue and the patterns 3, 4 and 5: 1 or 0 for each.

    All are -1, unknown, where nothing is annotated.

    Raises:
        DataError: The mask is missing, cannot be read or holds something else.
    """
    found = set(np.unique(read_mask(path)).tolist())
    if other := found - set(range(UNLABELLED + 1)):
        raise DataError(f"{path}: holds {sorted(other)}; a mask's indices are 0 to {UNLABELLED}")
    if found == {UNLABELLED}:
        return [-1] * UNLABELLED
    return [int(pattern in found) for pattern in range(UNLABELLED)]


FAKE_PALETTE = (0, 255, 0, 0, 0, 255, 255, 255, 0, 255, 0, 0, 255, 255, 255)
"""The publisher's: green, blue, yellow, red, and white for unlabelled."""
FAKE_PATTERNS = ((0,), (1, 2), (2, 3), (3, 1))
"""What the cores of the fake show, in turn."""


def make_fake(root: Path, seed: int) -> None:
    """Write 25 cores, the last without a mask; the higher a pattern, the darker the tissue.

    As in the publisher's archives, macOS left a file beside each that is no image.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] - 32
    disc = np.hypot(y, x) < 28
    number = 0
    for split, blocks in BLOCKS.items():
        for name in [f"{block}_1_{column}" for block in blocks for column in (1, 2)]:
            mask = np.full((64, 64), UNLABELLED, np.uint8)
            patterns = FAKE_PATTERNS[number % 4]
            mask[disc & (x < 0)] = patterns[0]
            mask[disc & (x >= 0)] = patterns[-1]
            number += 1
            core = root / name.rsplit("_", 2)[0] / f"{name}.jpg"
            _write_core(core, mask, rng)
            file = root / f"{MASKS[split]}{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(mask)
            image.putpalette(FAKE_PALETTE)
            image.save(file)
            for path in (core, file):
                path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    _write_core(root / "ZT80_38_C" / "ZT80_38_C_2_1.jpg", mask, rng)


def _write_core(path: Path, mask: np.ndarray, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.array([200, 160, 110, 60, 245])[mask, None] + rng.integers(-8, 9, (64, 64, 3))
    grey[..., 1] -= 20  # pinkish
    cv2.imwrite(str(path), grey.clip(0, 255).astype(np.uint8))
