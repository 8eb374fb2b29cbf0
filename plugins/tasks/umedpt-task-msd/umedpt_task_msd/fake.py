"""The publisher's layout in miniature."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from . import TASKS
from .data import indexed

FAKE_SHAPE = (32, 28, 24)


def make_fake(root: Path, seed: int) -> None:
    """Write ten cases of all ten tasks, nested balls, with the files that macOS left behind."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.indices(FAKE_SHAPE), axis=-1)
    for facts in TASKS.values():
        folder = root / facts.folder
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        names = [f"{facts.prefix}_{number:03d}.nii.gz" for number in range(1, 11)]
        for name in names:
            center = np.array(FAKE_SHAPE) / 2 + rng.uniform(-4, 4, 3)
            distance = np.linalg.norm(places - center, axis=-1)
            labels = np.digitize(distance, (10.0, 7.0, 4.0)[: len(facts.classes) - 1])
            noise = rng.integers(0, 32, (*FAKE_SHAPE, len(facts.sequences)))
            image = (labels[..., None] * 100 + noise).astype(np.int16)
            _write(folder / "imagesTr" / name, image.squeeze())
            _write(folder / "labelsTr" / name, labels.astype(np.uint8))
        (folder / "imagesTr" / f"._{names[0]}").write_bytes(b"\x00\x05\x16\x07")
        listing = {
            "name": facts.folder.partition("_")[2],
            "tensorImageSize": "4D" if len(facts.sequences) > 1 else "3D",
            "modality": indexed(facts.sequences),
            "labels": indexed(facts.classes),
            "numTraining": len(names),
            "numTest": 0,
            "training": [
                {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names
            ],
            "test": [],
        }
        (folder / "dataset.json").write_text(json.dumps(listing, indent=1))


def _write(path: Path, voxels: NDArray[Any]) -> None:
    """Without the time that nibabel's own packing notes."""
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
