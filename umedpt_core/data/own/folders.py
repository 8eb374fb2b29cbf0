"""Images in folders, one a class."""

from __future__ import annotations

from pathlib import Path

from ...errors import ConfigError
from .layout import ALL, IMAGES, VOLUMES, Layout, OwnCase, by_split, files_in, in_order, make_case

NO_CLASSES = {"images", "image", "imgs", "img", "masks", "mask", "labels", "annotations"}
"""Names of folders that hold images and masks side by side, not classes."""

KNOWN = (*IMAGES, *VOLUMES, ".raw", ".zraw")
"""What a class folder may hold; the last two are the voxels of a ``.mhd``."""


def read_folders(folder: Path) -> Layout | None:
    """Read ``class/image``, or ``split/class/image``.

    Returns:
        Classification; the classes are the folders' names in order, and a note counts what else
        there is. None where there are no folders.

    Raises:
        ConfigError: A folder holds no images, or the folders are no classes.
    """
    below = _folders(folder)
    if not below:
        return None
    splits = by_split(folder, ((path.name, path) for path in below))
    if "train" not in splits:
        splits = {ALL: folder}
    classes = in_order(path.name for split in splits.values() for path in _folders(split))
    if not classes:
        raise ConfigError(f"{splits['train']}: holds no folders; it needs one folder a class")
    if wrong := [name for name in classes if name.lower() in NO_CLASSES]:
        raise ConfigError(
            f"{folder}: the folder '{wrong[0]}' is no class; images with masks or boxes go into a "
            "CSV with the columns image and mask, or a COCO JSON"
        )
    if len(classes) == 1:
        raise ConfigError(
            f"{folder}: '{classes[0]}' is the only class folder; give two or more, or the folder "
            "in which they lie"
        )
    cases: dict[str, list[OwnCase]] = {}
    occurs: dict[str, set[int]] = {}
    others = [] if ALL in splits else [path for path in below if path not in splits.values()]
    for split, base in splits.items():
        cases[split], occurs[split] = [], set()
        for path in _folders(base):
            label = classes.index(path.name)
            occurs[split].add(label)
            images = _images(path)
            others += _folders(path)
            others += [file for file in files_in(path) if not file.name.lower().endswith(KNOWN)]
            for image in images:
                name = image.relative_to(folder).as_posix()
                cases[split].append(make_case(name, name, image, label))
    left = f"{len(others)} other file(s) or folder(s) are left out, such as "
    notes = (f"{left}{others[0].relative_to(folder)}",) if others else ()
    return Layout("classification", classes, cases, occurs, notes=notes)


def _folders(folder: Path) -> list[Path]:
    """Those that hold data: not what macOS and version control leave."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))
    )


def _images(folder: Path) -> list[Path]:
    found = [path for path in files_in(folder) if path.name.lower().endswith(IMAGES + VOLUMES)]
    if not found:
        raise ConfigError(
            f"{folder}: a class without images; it should hold {', '.join(IMAGES[:6])} and the "
            f"like, or {', '.join(VOLUMES)}, not further folders; fill it or remove it"
        )
    return found
