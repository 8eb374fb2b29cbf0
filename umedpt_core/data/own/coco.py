"""Boxes in the JSON format of COCO."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import ConfigError, DataError
from ..cases import FileCase
from ..coco import Coco, NotCocoError
from .layout import ALL, SPLITS, Layout, OwnCase, files_by_split, files_in, named_file

YEAR = re.compile(r"^(?:instances_)?([a-z]+)\d*$")
"""Of ``instances_train2017`` the split."""
ROBOFLOW = "_annotations.coco.json"
"""How Roboflow calls the file that it writes beside the images of a split."""


def read_coco(folder: Path) -> Layout | None:
    """Read one JSON, or one a split, of the folder, of its folder ``annotations`` or of splits'.

    Returns:
        Detection; the classes are the categories by id, whatever gaps the ids have. Crowd regions
        are left out, and a note counts them; another names categories without a box. None where
        there is no such JSON.

    Raises:
        ConfigError: A file is no JSON, names what it does not list, or an image is missing, or
            there is no box to train on.
    """
    read = {file: content for file in _files(folder) if (content := _read(file))}
    if not read:
        return None
    chosen = {
        split: read[file]
        for split, file in files_by_split(folder, [*read], [_stem(file) for file in read]).items()
    }
    names = _names([*chosen.values()])
    index = {identity: place for place, identity in enumerate(names)}
    cases: dict[str, list[OwnCase]] = {}
    occurs: dict[str, set[int]] = {}
    for split, content in chosen.items():
        cases[split] = _cases(folder, split, content, index)
        occurs[split] = {int(label) for case in cases[split] for label in case.target["labels"]}
    learned = "train" if "train" in chosen else ALL
    if not occurs[learned]:
        raise ConfigError(f"{chosen[learned].path}: has no boxes to learn from")
    crowds = sum(content.crowds for content in chosen.values())
    notes = [f"{crowds} crowd region(s) are left out"] if crowds else []
    if unused := sorted(set(index.values()).difference(*occurs.values())):
        unseen = ", ".join([*names.values()][place] for place in unused)
        notes.append(f"categories without a box, which are classes all the same: {unseen}")
    images = [image for content in chosen.values() for image in content.images]
    return Layout(
        "detection",
        tuple(names.values()),
        cases,
        occurs,
        patients=all(image.patient is not None for image in images),
        notes=tuple(notes),
    )


def _files(folder: Path) -> list[Path]:
    places = [path for path in (folder, folder / "annotations") if path.is_dir()]
    found = [path for place in places for path in files_in(place) if path.suffix.lower() == ".json"]
    splits = [path for path in sorted(folder.iterdir()) if path.name.lower() in SPLITS]
    return found + [path / ROBOFLOW for path in splits if (path / ROBOFLOW).is_file()]


def _stem(file: Path) -> str:
    """What of the file's place may be a split's name."""
    name = file.parent.name if file.name == ROBOFLOW else file.stem
    return YEAR.sub(r"\1", name.lower())


def _read(file: Path) -> Coco | None:
    """A file's content; None where it is another kind of JSON."""
    try:
        return Coco(file)
    except NotCocoError:
        return None
    except (DataError, OSError) as error:
        raise ConfigError(str(error)) from error


def _names(files: list[Coco]) -> dict[int, str]:
    """The names of the categories by id, in the order of the ids."""
    names: dict[int, str] = {}
    for file in files:
        for identity, name in file.categories.items():
            if names.setdefault(identity, name) != name:
                raise ConfigError(
                    f"{file.path}: category {identity} is '{name}' and, in {files[0].path.name}, "
                    f"'{names[identity]}'; an id has one name, the same in all files"
                )
    return dict(sorted(names.items()))


def _cases(folder: Path, split: str, file: Coco, index: dict[int, int]) -> list[OwnCase]:
    """A case an image. Its id is unique over the splits, so it begins with its split."""
    base = _base(folder, split, file.path, [image.file_name for image in file.images])
    cases: list[OwnCase] = []
    for image in file.images:
        name = image.file_name if split == ALL else f"{split}/{image.file_name}"
        patient = name if image.patient is None else str(image.patient)
        path = named_file(base, image.file_name)
        cases.append(FileCase(name, patient, path, file.boxes(image.id, index)))
    return cases


def _base(folder: Path, split: str, file: Path, names: list[str]) -> Path:
    """The folder that the images' names start from."""
    named_after = (split, file.stem.lower().removeprefix("instances_"))
    tops = (folder, folder / "images")
    below = (top / name for top in tops for name in named_after)
    places = dict.fromkeys((*tops, file.parent, *below))
    missing = {}
    for place in places:
        missing[place] = [name for name in names if not named_file(place, name).is_file()]
        if not missing[place]:
            return place
    best = min(missing, key=lambda place: len(missing[place]))
    raise ConfigError(
        f"{file}: {len(missing[best])} of {len(names)} images are missing, the first is "
        f"{best / missing[best][0]}; names start from one of {', '.join(map(str, places))}"
    )
