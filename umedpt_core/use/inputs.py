"""Finding what is to be predicted, and naming what comes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..data.own.layout import IMAGES, VOLUMES
from ..errors import ConfigError

DICOM = (".dcm", ".ima")


class Input(NamedTuple):
    """One thing to predict.

    Attributes:
        path: An image, a volume, or the folder of a DICOM series.
        id: Its path below the folder that all inputs have in common; unique.
        place: What names its files in the output: the id without the ending, or with it where two
            inputs would share one.
    """

    path: Path
    id: str
    place: str


def find_inputs(given: Sequence[Path | str], volumes: bool) -> list[Input]:
    """The images, or the volumes, among files and in folders.

    Args:
        given: Files are taken as they are. Folders are searched with all folders below; files of
            other kinds and hidden ones are passed over.
        volumes: Look for NIfTI, MetaImage and folders of DICOM files in place of 2D images.

    Returns:
        Sorted by path, each once.

    Raises:
        ConfigError: A path does not exist, or there is nothing to predict.
    """
    roots = [Path(os.path.abspath(path)) for path in given]
    for root, path in zip(roots, given, strict=True):
        if not root.exists():
            raise ConfigError(f"INPUT {path}: no such file or folder")
    search = _volumes_in if volumes else _images_in
    found = {path for root in roots for path in (search(root) if root.is_dir() else [root])}
    if not found:
        kind = "volume (NIfTI, MetaImage or DICOM series)" if volumes else "image"
        raise ConfigError(f"INPUT {given[0]}: holds no {kind}; name files or another folder")
    base = Path(os.path.commonpath([r if r.is_dir() else r.parent for r in roots]))
    base = base.parent if base in found else base  # a series itself
    return _named(sorted(found), base)


def _named(paths: Sequence[Path], base: Path) -> list[Input]:
    ids = [path.relative_to(base).as_posix() for path in paths]
    places = [_without_ending(path, name) for path, name in zip(paths, ids, strict=True)]
    if len(set(places)) < len(places):
        places = ids
    return [Input(*each) for each in zip(paths, ids, places, strict=True)]


def _without_ending(path: Path, name: str) -> str:
    if path.is_dir():
        return name
    known = [ending for ending in VOLUMES if path.name.lower().endswith(ending)]
    ending = len(max(known, key=len)) if known else len(path.suffix)
    return name[: len(name) - ending]


def _images_in(folder: Path) -> Iterator[Path]:
    for path in _files(folder):
        if path.suffix.lower() in IMAGES:
            yield path


def _volumes_in(folder: Path) -> Iterator[Path]:
    """Volumes, and the folders that hold DICOM files."""
    for path in _files(folder):
        if path.name.lower().endswith(VOLUMES):
            yield path
        elif path.suffix.lower() in DICOM or _says_dicom(path):
            yield path.parent


def _files(folder: Path) -> Iterator[Path]:
    for inner, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(inner, name) for name in names if not name.startswith("."))


def _says_dicom(path: Path) -> bool:
    if path.name.upper() == "DICOMDIR":  # lists what lies in other folders
        return False
    if not path.is_file():  # a pipe would wait for somebody to write
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
