"""The weakly labelled slides: 02_WEAK/<dataset>/<label>/*.ome.tiff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from umedpt_core import DataError, SlideCase, class_folders

from .layout import original, training_data

SUFFIXES = (".ome.tif", ".ome.tiff")


class Facts(NamedTuple):
    """A row of the publisher's table of datasets.

    Attributes:
        centre: The hospital.
        mpp: Micrometres a level-0 pixel.
    """

    centre: str
    mpp: float


DATASETS = {
    "DS_W_1": Facts("Cologne", 0.4609),  # Hamamatsu S360
    "DS_W_2A": Facts("Wiener Neustadt", 0.4609),  # Hamamatsu S360
    "DS_W_2B": Facts("Wiener Neustadt", 0.5266),  # the same sections, Leica GT450
    "DS_W_3": Facts("Munich", 0.5246),  # Leica GT450
    "DS_W_4": Facts("Bern", 0.4862),  # 3DHISTECH P1000
}

Datasets = Annotated[
    tuple[Literal["DS_W_1", "DS_W_2A", "DS_W_2B", "DS_W_3", "DS_W_4"], ...], Field(min_length=1)
]


class Options(BaseModel):
    """What a mix can choose of semicol-classification.

    Attributes:
        train: The datasets to train on; the core takes its validation set from them.
        test: The datasets to test on, of other centres.
        folders: The folders of the benign and of the tumour slides in each dataset.
    """

    model_config = ConfigDict(extra="forbid")
    train: Datasets = ("DS_W_1", "DS_W_2A", "DS_W_2B", "DS_W_3")
    test: Datasets = ("DS_W_4",)
    folders: tuple[str, str] = ("BEN", "TU")

    @model_validator(mode="after")
    def _apart(self) -> Options:
        both = {DATASETS[name].centre for name in self.train} & {
            DATASETS[name].centre for name in self.test
        }
        if both:
            raise ValueError(f"slides of {min(both)} are in train and in test; choose one")
        return self


def open_cases(root: Path, split: str, options: Options) -> list[SlideCase]:
    """List the slides of a split, with 1 where they hold tumour.

    Args:
        root: The folder that holds ``DATASET_TRAIN``, or ``02_WEAK`` itself.
        split: ``train`` or ``test``.
        options: See :class:`Options`.

    Raises:
        FileNotFoundError: The folder of a dataset is missing.
        DataError: The folder of a label is missing, or holds no slide.
    """
    weak = training_data(root, "02_WEAK")
    cases = []
    for name in options.train if split == "train" else options.test:
        centre, mpp = DATASETS[name]
        there = sorted(path.name for path in (weak / name).iterdir() if path.is_dir())
        if missing := [folder for folder in options.folders if folder not in there]:
            raise DataError(
                f"{weak / name}: no folder {missing[0]} here, but {', '.join(there) or 'none'}; "
                "name those of benign and tumour slides with the option folders"
            )
        labels = {folder: label for label, folder in enumerate(options.folders)}
        cases += [
            SlideCase(
                id=path.relative_to(weak).as_posix(),
                patient=f"{centre}/{original(path)}",
                path=path,
                label=label,
                mpp=mpp,
            )
            for path, label in class_folders(weak / name, labels, suffixes=SUFFIXES)
        ]
    return cases
