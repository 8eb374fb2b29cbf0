"""Boxes in the JSON format of COCO."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from ...errors import ConfigError
from ..cases import FileCase
from .layout import ALL, SPLITS, Layout, OwnCase, files_by_split, files_in, named_file

YEAR = re.compile(r"^(?:instances_)?([a-z]+)\d*$")
"""Of ``instances_train2017`` the split."""
ROBOFLOW = "_annotations.coco.json"
"""How Roboflow calls the file that it writes beside the images of a split."""


class Image(BaseModel):
    """What is used of an image; `patient` is an addition to COCO's fields."""

    id: int | str
    file_name: str
    patient: int | str | None = None


class Annotation(BaseModel):
    """What is used of an annotation."""

    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: bool = False


class Category(BaseModel):
    """What is used of a category."""

    id: int
    name: str


class Coco(BaseModel):
    """A file."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


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
    stems = [_stem(file) for file in read]
    chosen = files_by_split(folder, list(read), stems)
    names = _names({file: read[file] for file in chosen.values()})
    index = {identity: place for place, identity in enumerate(names)}
    cases: dict[str, list[OwnCase]] = {}
    occurs: dict[str, set[int]] = {}
    crowds = 0
    for split, file in chosen.items():
        targets = _targets(file, read[file], index)
        cases[split] = _cases(folder, split, file, read[file].images, targets)
        occurs[split] = {int(label) for target in targets.values() for label in target["labels"]}
        crowds += sum(annotation.iscrowd for annotation in read[file].annotations)
    if not occurs.get("train", occurs.get(ALL)):
        raise ConfigError(f"{chosen.get('train', chosen.get(ALL))}: has no boxes to learn from")
    notes = [f"{crowds} crowd region(s) are left out"] if crowds else []
    if unused := sorted(set(index.values()).difference(*occurs.values())):
        unseen = ", ".join(list(names.values())[place] for place in unused)
        notes.append(f"categories without a box, which are classes all the same: {unseen}")
    images = [image for file in chosen.values() for image in read[file].images]
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
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read as JSON ({error}); mend or remove it") from error
    if not isinstance(content, dict) or not content.keys() >= Coco.model_fields.keys():
        return None
    try:
        return Coco.model_validate(content)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"]))
        raise ConfigError(f"{file}: not as COCO has it: {where}: {detail['msg']}") from error


def _names(files: dict[Path, Coco]) -> dict[int, str]:
    """The names of the categories by id, in the order of the ids."""
    names: dict[int, str] = {}
    for file, content in files.items():
        for category in content.categories:
            if (name := names.setdefault(category.id, category.name)) != category.name:
                raise ConfigError(
                    f"{file}: category {category.id} is '{category.name}' and '{name}'; an id "
                    "has one name, the same in all files"
                )
    return dict(sorted(names.items()))


def _targets(file: Path, content: Coco, index: dict[int, int]) -> dict[int | str, dict[str, Any]]:
    """The raw target of every image by its id; one without boxes has none."""
    corners: dict[int | str, list[list[float]]] = defaultdict(list)
    labels: dict[int | str, list[int]] = defaultdict(list)
    known = {image.id for image in content.images}
    for number, annotation in enumerate(content.annotations):
        for kind, identity, there in (
            ("image", annotation.image_id, annotation.image_id in known),
            ("category", annotation.category_id, annotation.category_id in index),
        ):
            if not there:
                raise ConfigError(
                    f"{file}: annotations.{number}: there is no {kind} {identity}; add or remove it"
                )
        if not annotation.iscrowd:
            x, y, width, height = annotation.bbox
            corners[annotation.image_id].append([x, y, x + width, y + height])
            labels[annotation.image_id].append(index[annotation.category_id])
    return {
        image: {
            "boxes": np.array(corners[image], np.float32).reshape(-1, 4),
            "labels": np.array(labels[image], np.int64),
        }
        for image in known
    }


def _cases(
    folder: Path, split: str, file: Path, images: Sequence[Image], targets: dict[int | str, Any]
) -> list[OwnCase]:
    """A case an image. Its id is unique over the splits, so it begins with its split."""
    base = _base(folder, split, file, [image.file_name for image in images])
    cases: list[OwnCase] = []
    for image in images:
        name = image.file_name if split == ALL else f"{split}/{image.file_name}"
        patient = name if image.patient is None else str(image.patient)
        path = named_file(base, image.file_name)
        cases.append(FileCase(name, patient, path, targets[image.id]))
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
