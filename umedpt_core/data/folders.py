"""Images in folders that name their class, as many publishers lay them out."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from errno import ENOENT
from pathlib import Path

from ..errors import DataError


def class_folders(
    base: Path, classes: Mapping[str, int], *, suffixes: Collection[str], nested: bool = False
) -> list[tuple[Path, int]]:
    """List the images of ``base/<name>`` for every name of the classes.

    Args:
        base: The folder that holds one folder a class.
        classes: The folder's name, or path below ``base``, to the index of the class. Several
            folders may be of one class.
        suffixes: How images end, in lower case: ``.png``. A name's case does not matter.
        nested: Whether to look in the folders below, too.

    Returns:
        Each image and its class, folder by folder in the given order, sorted within one, its own
        images before those below. Hidden files and folders are left out.

    Raises:
        FileNotFoundError: A folder is missing.
        DataError: A folder holds no such image.
    """
    found = []
    for name, index in classes.items():
        folder = base / name
        if not folder.is_dir():
            raise FileNotFoundError(ENOENT, "no such folder", str(folder))
        paths = []
        for place, below, names in os.walk(folder):  # pathlib is slow for a million images
            below[:] = sorted(name for name in below if nested and not name.startswith("."))
            paths += [
                Path(place, name)
                for name in sorted(names)
                if name.lower().endswith(tuple(suffixes)) and not name.startswith(".")
            ]
        if not paths:
            kinds = " or ".join(f"*{suffix}" for suffix in sorted(suffixes))
            raise DataError(f"{folder}: no {kinds} here; unpack the dataset again")
        found += [(path, index) for path in paths]
    return found
