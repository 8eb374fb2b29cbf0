"""What is known of a folder of one's own data once it is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import normalize

from ...errors import ConfigError
from ..cases import FileCase
from ..volumes import VolumeCase

OwnCase = FileCase | VolumeCase

SPLITS = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"val": "val", "valid": "val", "validation": "val"},
}
"""How folders, files and cells call the splits."""

IMAGES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".gif", ".webp"),
    *(".jp2", ".pbm", ".pgm", ".ppm", ".pnm", ".tga"),
)
VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd")

ALL = "all"
"""The split of cases that the core is to split."""

LITTER = ("thumbs.db", "desktop.ini")
"""What Windows leaves in folders; files of macOS begin with a dot, those of Office with ~$."""


@dataclass(frozen=True)
class Layout:
    """What a reader has found.

    Attributes:
        label_type: The name of the label type; ``classification`` of volumes means bags.
        classes: The names; empty where only the masks can tell.
        cases: By split; under ``all`` where the folder makes none.
        occurs: The classes that occur in each split, as far as they are known without reading
            masks.
        patients: Whether the patients are named.
        label_options: For the label type.
        intensity: The rule that was asked for; empty: as the files' type suggests.
        notes: What the user should know.
    """

    label_type: str
    classes: tuple[str, ...]
    cases: dict[str, list[OwnCase]]
    occurs: dict[str, set[int]] = field(default_factory=dict)
    patients: bool = False
    label_options: Mapping[str, Any] = field(default_factory=dict)
    intensity: str = ""
    notes: tuple[str, ...] = ()

    @property
    def everything(self) -> list[OwnCase]:
        """The cases of all splits."""
        return [case for cases in self.cases.values() for case in cases]

    @property
    def rare(self) -> list[str]:
        """Classes of fewer patients than the core makes splits, where each case has one class."""
        if self.label_type != "classification" or ALL not in self.cases:
            return []
        pairs = {(case.label, case.patient) for case in self.cases[ALL]}
        patients = Counter(label for label, _ in pairs)
        return [name for index, name in enumerate(self.classes) if patients[index] < 3]

    def check(self, folder: Path) -> None:
        """Check what training and testing need.

        Raises:
            ConfigError: A split is missing or too small, an image or a patient is in two, or a
                class occurs nowhere in the train split.
        """
        self._check_splits(folder)
        if not self.occurs:
            return
        learned = self.occurs.get("train", self.occurs.get(ALL, set()))
        for index in sorted(set().union(*self.occurs.values()) - learned):
            where = next(split for split, classes in self.occurs.items() if index in classes)
            raise ConfigError(
                f"{folder}: class '{self.classes[index]}' occurs in {where} but not in train, so "
                "nothing can learn it; move cases to train or leave the class out"
            )

    def _check_splits(self, folder: Path) -> None:
        patients = Counter(case.patient for case in self.everything)
        if ALL in self.cases:
            if len(patients) < 3:
                raise ConfigError(
                    f"{folder}: {len(patients)} patient(s) are too few to split into train, val "
                    "and test; at least 3 are needed"
                )
        elif missing := [split for split in ("train", "test") if not self.cases.get(split)]:
            raise ConfigError(
                f"{folder}: has splits, but no {missing[0]}; add it (val may be missing), or make "
                "no splits at all, and 70 / 10 / 20 % of the patients become train, val and test"
            )
        homes: dict[str, str] = {}
        seen: set[str] = set()
        for split, cases in self.cases.items():
            for case in cases:
                path = os.path.normpath(
                    case.paths[0] if isinstance(case, VolumeCase) else case.path
                )
                if path in seen:
                    raise ConfigError(f"{folder}: {path} is listed twice; list it once")
                seen.add(path)
                if homes.setdefault(case.patient, split) != split:
                    raise ConfigError(
                        f"{folder}: patient '{case.patient}' is in {homes[case.patient]} and in "
                        f"{split}; a patient must be on one side, so move the cases"
                    )


def files_in(folder: Path) -> list[Path]:
    """The files of a folder, sorted, but not what file managers and editors leave there."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file()
        and not path.name.startswith((".", "~$"))
        and path.name.lower() not in LITTER
    )


def named_file(folder: Path, name: str) -> Path:
    """The path of a file by its name in a list, which may have been written on another system.

    Windows has backslashes, and an umlaut may be one character or two.
    """
    slashes = name.replace("\\", "/")
    spellings = dict.fromkeys((name, slashes, *(normalize(f, slashes) for f in ("NFC", "NFD"))))
    found = (path for spelling in spellings if (path := folder / spelling).is_file())
    return next(found, folder / name)


def is_volume(path: Path) -> bool:
    """Whether a file's name is that of a volume."""
    return path.name.lower().endswith(VOLUMES)


def make_case(name: str, patient: str, path: Path, label: Any) -> OwnCase:
    """A case of one image or one volume."""
    if is_volume(path):
        return VolumeCase(name, patient, (path,), label)
    return FileCase(name, patient, path, label)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes without repetition, by number where all are whole numbers."""
    found = set(names)
    if all(name.isascii() and name.isdigit() for name in found):
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    return tuple(sorted(found))


def by_split(folder: Path, named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """The files or folders whose names are those of splits.

    Raises:
        ConfigError: Two are of one split.
    """
    found: dict[str, Path] = {}
    for name, path in named:
        split = SPLITS.get(name.lower())
        if split and found.setdefault(split, path) != path:
            first, second = (p.relative_to(folder) for p in (found[split], path))
            raise ConfigError(f"{folder}: both {first} and {second} are {split}; keep one")
    return found


def files_by_split(folder: Path, files: Sequence[Path], stems: Sequence[str]) -> dict[str, Path]:
    """Which file is of which split: one file alone is of all.

    Args:
        folder: For messages.
        files: At least one.
        stems: What of each name may be a split's.

    Raises:
        ConfigError: There are several files and none is called train, or two are of one split.
    """
    if len(files) == 1:
        return {ALL: files[0]}
    found = by_split(folder, zip(stems, files, strict=True))
    if "train" not in found:
        names = ", ".join(file.name for file in files)
        raise ConfigError(
            f"{folder}: several files may list the data: {names}; keep one, or name them after "
            "train, val and test"
        )
    return found
