"""Reading the publisher's layout: N_crop.png, N_labeled_mask_corrected.png and a text of cases."""

from __future__ import annotations

import gzip
import re
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from umedpt_core import DataError, FileCase, boxes_of_instances, read_mask, split_by_patient

from . import CASES_FILE

SHARES = {"train": 0.7, "test": 0.3}
"""The paper's 950 and 406 images; which ones it does not say."""

LEFT_OUT = {49, 59, 299, 310, 376, 450, 760, 981, 1312}
"""Patches that readers of the set leave out: of 1,365 the 1,356 of the paper remain."""

NUMBER = re.compile(r"(\d+)_crop\.png")
ROW = re.compile(r"\W*(\d+).*?(TCGA-[0-9A-Z]{2}-[0-9A-Z]{4})", re.IGNORECASE)
"""Of a row, the patch's number and the TCGA case, whatever its column is called."""


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the patches of a split; those of one TCGA case stay together.

    Args:
        root: The folder that holds the text of cases and ``manual_segmentation_data``, or the
            content of that.
        split: ``train`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: The text of cases is missing.
        DataError: It names no cases, or there is no patch.
    """
    patients = read_patients(root / CASES_FILE)
    inner = root / "manual_segmentation_data"
    base = inner if inner.is_dir() else root
    numbers = sorted(int(m[1]) for path in base.iterdir() if (m := NUMBER.fullmatch(path.name)))
    if not numbers:
        raise DataError(
            f"{base}: no <number>_crop.png here; unpack manual_segmentation_data.tar.gz"
        )
    cases = [
        FileCase(
            id=(base / f"{number}_crop.png").relative_to(root).as_posix(),
            patient=patients.get(number, str(number)),
            path=base / f"{number}_crop.png",
            label=partial(read_boxes, base / f"{number}_labeled_mask_corrected.png"),
        )
        for number in numbers
        if number not in LEFT_OUT
    ]
    return split_by_patient(cases, SHARES)[split]


def read_patients(path: Path) -> dict[int, str]:
    """The TCGA case of each patch: rows below a line that begins with ``Patch-ID``.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: It has no such line, or no row names a case.
    """
    raw = path.read_bytes()
    if raw.startswith(b"\x1f\x8b"):  # the server compresses it, and not every client unpacks it
        raw = gzip.decompress(raw)
    _, column, rows = raw.decode("utf-8", "replace").partition("Patch-ID,")
    if not column:
        raise DataError(f"{path}: no column 'Patch-ID'; download it again")
    found = [match for line in rows.splitlines() if (match := ROW.match(line))]
    if not found:
        raise DataError(f"{path}: no row names a TCGA case (TCGA-XX-XXXX); download it again")
    return {int(match[1]): match[2].upper() for match in found}


def read_boxes(path: Path) -> dict[str, NDArray[Any]]:
    """One box a nucleus of a mask that numbers them from 1."""
    return boxes_of_instances(read_mask(path))


def make_fake(root: Path, seed: int) -> None:
    """Write 18 patches of 9 cases in the publisher's layout; 49 and 59 have no mask."""
    rng = np.random.default_rng(seed)
    base = root / "manual_segmentation_data"
    base.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:60, :60]
    text = [
        "Manual segmentation of image patches: their TCGA cases",
        "",
        "Patch-ID,TCGA-ID,CancerType",
    ]
    for number in range(45, 63):
        image = rng.normal((210, 170, 220, 255), (8, 8, 8, 0), (60, 60, 4))  # blue, green, red
        mask = np.zeros((60, 60), np.uint16)
        for index, place in enumerate(rng.permutation(9)[: rng.integers(3, 7)]):  # of 3 x 3 cells
            distance = np.hypot(y - place // 3 * 20 - 10, x - place % 3 * 20 - 10)
            mask[distance < rng.integers(4, 9)] = index + 1
        image[mask > 0, :3] -= (60, 110, 120)
        pixels = image.clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(base / f"{number}_crop.png"), pixels)
        if number not in LEFT_OUT:
            cv2.imwrite(str(base / f"{number}_labeled_mask_corrected.png"), mask)
        cancer = ("blca", "luad", "uvm")[number % 3]
        text.append(f"{number},TCGA-D{number % 3}-A{number // 2:03}-01Z-00-DX1,{cancer}")
    (root / CASES_FILE).write_text("\n".join(text) + "\n", encoding="utf-8")
