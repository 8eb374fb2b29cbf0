"""A folder of one's own data as a task, without a plugin."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import ValidationError

from ... import __version__
from ...catalogue import Catalogue, Entry
from ...errors import ConfigError, DataError
from ...specs import Bag, Slices, Source, TaskSpec, Whole
from ..volumes import VolumeCase
from .coco import read_coco
from .folders import read_folders
from .layout import Layout, OwnCase
from .masks import look_at_masks, white_as_one
from .table import read_tables

READERS = (read_coco, read_tables, read_folders)
"""In the order in which they are asked."""

LOOKED_AT = 16
"""Images that tell which type of number the files have."""

SOURCE = Source(
    homepage="own data",
    licence="own data",
    citation="own data",
    access="registration",
    download=("it is somebody's own data: give its folder with --folder",),
)


def own_task(
    folder: Path | str,
    catalogue: Catalogue,
    name: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Entry[TaskSpec]:
    """Describe a folder as a task.

    Args:
        folder: COCO JSON, CSV or class folders; see docs/own-data.md.
        catalogue: For the label type and the augmentation profile.
        name: A slug that no task has; default: made of the folder's name.
        say: Told what was found.

    Returns:
        The task, for :meth:`Catalogue.with_task`; its root is the folder.

    Raises:
        ConfigError: The layout is none of these, something in it is wrong, or the label type is not
            installed.
    """
    folder = Path(folder)
    layout = read_folder(folder)
    cases = layout.everything
    volumes = _are_volumes(folder, cases)
    label_type = _label_type(folder, layout, volumes)
    catalogue.find("label type", label_type)
    classes, reader = layout.classes, "open_cases"
    if label_type == "segmentation":
        say(f"reading the masks of {folder}")
        classes, white = look_at_masks(folder, cases)
        reader = "open_white_masks" if white else reader
    splits = [split for split in ("train", "val", "test") if split in layout.cases]
    try:
        spec = TaskSpec.model_validate(
            {
                "name": name or _free_name(folder, catalogue),
                "label_type": label_type,
                "modality": "unknown",
                "classes": classes,
                "cases": f"{__name__}:{reader}",
                "fake": f"{__name__}:make_fake",
                "instances": _instances(label_type, volumes),
                "intensity": layout.intensity or ("mri" if volumes else _intensity(cases)),
                "augmentation": _augmentation(catalogue, volumes),
                "splits": splits,
                "label_options": dict(layout.label_options),
                "source": SOURCE,
            }
        )
    except ValidationError as error:
        detail = error.errors()[0]
        raise ConfigError(
            f"{folder}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}"
        ) from error
    _report(spec, layout, volumes, say)
    return Entry(spec, "umedpt-core", __version__)


def read_folder(folder: Path) -> Layout:
    """Read what a folder holds.

    Raises:
        ConfigError: The layout is not understood, or something in it is wrong.
    """
    if not folder.is_dir():
        raise ConfigError(f"--folder {folder}: no such folder")
    for read in READERS:
        if layout := read(folder):
            layout.check(folder)
            return layout
    raise ConfigError(
        f"{folder}: nothing that is understood; it needs a COCO JSON (or train.json, test.json), a "
        "CSV with the columns image and label, mask or value (or train.csv, test.csv), or a folder "
        "of images for each class (or train/CLASS, test/CLASS)"
    )


def open_cases(root: Path, split: str, options: None) -> Sequence[OwnCase]:
    """List the cases of a split of a folder.

    Args:
        root: The folder.
        split: ``train``, ``val`` or ``test`` where the folder makes splits, else ``all``.
        options: The task has none.

    Raises:
        ConfigError: See :func:`read_folder`.
    """
    return read_folder(root).cases.get(split, [])


def open_white_masks(root: Path, split: str, options: None) -> Sequence[OwnCase]:
    """As :func:`open_cases`, of masks whose foreground is 255."""
    return [
        replace(case, label=partial(white_as_one, case.label))
        for case in open_cases(root, split, options)
    ]


def make_fake(root: Path, seed: int) -> None:
    """Write class folders with 24 images of 48 x 48 pixels; the images of one class are bright."""
    rng = np.random.default_rng(seed)
    for name, level in (("bright", 170), ("dark", 60)):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(12):
            pixels = rng.normal(level, 20, (48, 48)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02}.png")


def _are_volumes(folder: Path, cases: Sequence[OwnCase]) -> bool:
    volumes = [case.id for case in cases if isinstance(case, VolumeCase)]
    if volumes and len(volumes) < len(cases):
        raise ConfigError(
            f"{folder}: holds volumes ({volumes[0]}) and images; make a folder of each"
        )
    return bool(volumes)


def _label_type(folder: Path, layout: Layout, volumes: bool) -> str:
    if not volumes or layout.label_type == "segmentation":
        return layout.label_type
    if layout.label_type != "classification":
        raise ConfigError(
            f"{folder}: {layout.label_type} is not made of volumes; give them a label or a mask"
        )
    return "bag"


def _instances(label_type: str, volumes: bool) -> Whole | Slices | Bag:
    if label_type == "bag":
        return Bag()
    return Slices(foreground=0.5) if volumes else Whole()


def _intensity(cases: Sequence[OwnCase]) -> str:
    """The rule that suits the type of number in the files, from some of them."""
    kinds = set()
    for case in cases[:: max(1, len(cases) // LOOKED_AT)]:
        try:
            kinds.add(case.image.dtype)  # type: ignore[union-attr]
        except DataError:
            continue  # training reports it
    if kinds <= {np.dtype(np.uint8)}:
        return "uint8"
    return "dtype" if all(kind.kind == "u" for kind in kinds) else "ct"


def _augmentation(catalogue: Catalogue, volumes: bool) -> str:
    wanted = ("tomography", "standard") if volumes else ("standard",)
    return next((name for name in wanted if name in catalogue.augmentations), "none")


def _free_name(folder: Path, catalogue: Catalogue) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "own"
    while slug in catalogue.tasks:
        slug = f"own-{slug}"
    return slug


def _report(spec: TaskSpec, layout: Layout, volumes: bool, say: Callable[[str], None]) -> None:
    kind = "volumes" if volumes else "images"
    names = ", ".join(spec.classes[:8]) + (", ..." if len(spec.classes) > 8 else "")
    say(f"{spec.name}: {spec.label_type} of {len(layout.everything)} {kind}: {names}")
    if not layout.patients:
        say(
            f"no patients are named, so each of the {kind} counts as one; where patients have "
            "several, name them in a CSV's column patient, or the scores will flatter"
        )
    if rare := layout.rare:
        counted = "patients" if layout.patients else kind
        say(
            f"{len(rare)} class(es) have fewer than 3 {counted}, such as {rare[0]}, so they are "
            "missing in train, val or test"
        )
    for note in layout.notes:
        say(note)
