"""What the masks of own data hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...label_type import IGNORE
from ..readers import read_image, read_mask
from ..volumes import Volume, read_volume
from .layout import OwnCase

NAMES = "classes.txt"
ENOUGH = 32
"""Masks that tell whether white is the foreground, where the classes are named."""


def named_classes(folder: Path) -> tuple[str, ...]:
    """The lines of ``classes.txt``; none where there is no such file.

    Raises:
        ConfigError: It cannot be read or is empty.
    """
    file = folder / NAMES
    if not file.exists():
        return ()
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 ({error}); save it as UTF-8") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{file}: needs a line a class, each another name, in order of the index")
    return names


def read_image_mask(path: Path) -> NDArray[Any]:
    """A mask whose indices may be stored as floating-point numbers, or in equal channels.

    Raises:
        DataError: It cannot be read, or holds fractions or colours.
    """
    try:
        mask = read_mask(path)
    except DataError as error:
        image = read_image(path)
        mask = image.reshape(*image.shape[:2], -1)[..., 0]
        if image.ndim == 3 and (image != mask[..., None]).any():
            raise DataError(
                f"{path}: a mask holds class indices, this one colours; save it with one channel"
            ) from error
    return _whole(path, mask)


def read_volume_mask(path: Path) -> Volume:
    """A mask whose whole numbers may be stored as floating-point ones.

    Raises:
        DataError: It cannot be read, or holds fractions.
    """
    volume = read_volume(path)
    return replace(volume, voxels=_whole(path, volume.voxels))


def _whole(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind != "f":
        return values
    with np.errstate(invalid="ignore"):
        indices = values.astype(np.int32)
    if (indices != values).any():
        raise DataError(f"{path}: a mask holds class indices, this one fractions; convert it")
    return indices


def look_at_masks(folder: Path, cases: Sequence[OwnCase]) -> tuple[tuple[str, ...], bool]:
    """The names of the classes, and whether 255 means the foreground rather than unknown.

    It does where masks hold nothing but 0 and 255. Without ``classes.txt`` every mask is read.

    Raises:
        ConfigError: The values are no class indices, or no mask can be read.
    """
    names = named_classes(folder)
    values: set[int] = set()
    problem = ""
    for case in cases[:: max(1, len(cases) // ENOUGH)] if names else cases:
        try:
            values.update(np.unique(_array(case.target)).tolist())
        except DataError as error:
            problem = str(error)  # of a few: training reports them
    if not values:
        raise ConfigError(f"{folder}: no mask can be read; the last one: {problem}")
    white = IGNORE in values and values <= {0, IGNORE} and len(names) <= 2
    if names:
        return names, white
    if white:
        return ("background", "foreground"), white
    indices = values - {IGNORE}
    if indices != {*range(len(indices))} or len(indices) < 2:
        raise ConfigError(
            f"{folder}: the masks hold {', '.join(map(str, sorted(values)[:8]))}; number the "
            f"classes 0, 1, 2, ... with 0 the background, or name all of them in {NAMES}"
        )
    return ("background", *(f"class {index}" for index in range(1, len(indices)))), white


def white_as_one(load: Callable[[], Any]) -> Any:
    """A mask whose foreground is 255, as class indices."""
    mask = load()
    array = np.where(_array(mask) == IGNORE, 1, _array(mask)).astype(np.uint8)
    return replace(mask, voxels=array) if isinstance(mask, Volume) else array


def _array(mask: Any) -> Any:
    return mask.voxels if isinstance(mask, Volume) else mask
