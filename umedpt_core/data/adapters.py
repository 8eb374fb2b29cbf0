"""Datasets of other libraries as cases, so that nobody rewrites one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .readers import to_array


class _Items:
    """A dataset that keeps its latest item, as a case is asked for its image, then its target."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._latest: tuple[int, Any] | None = None

    def __getitem__(self, index: int) -> Any:
        if self._latest is None or self._latest[0] != index:
            self._latest = index, self.dataset[index]
        return self._latest[1]

    def __reduce__(self) -> tuple[type[_Items], tuple[Any]]:
        return _Items, (self.dataset,)  # to a worker without the item


@dataclass(frozen=True, slots=True)
class ItemCase:
    """A case that is an item of somebody's dataset; it loads when asked.

    Attributes:
        id: See :class:`Case`.
        patient: See :class:`Case`.
        items: The dataset, one object for all its cases, without which none pickles. Small are
            those that hold paths or a memory map, not pixels.
        index: Which item.
        image_key: The image within the item.
        target_key: The raw target within the item.
    """

    id: str
    patient: str
    items: Any
    index: int
    image_key: int | str
    target_key: int | str

    @property
    def image(self) -> NDArray[Any]:
        """The item's image as an array."""
        return _as_array(self.items[self.index][self.image_key])

    @property
    def target(self) -> Any:
        """The item's target as it comes."""
        return self.items[self.index][self.target_key]


def cases_from_torchvision(
    dataset: Any, split: str, patient: Callable[[int], str] | None = None
) -> list[ItemCase]:
    """The cases of a dataset in torchvision's style.

    Args:
        dataset: Has a length and gives (image, target) for an index: the image as PIL's, an
            H x W (x 3) array, or a tensor C x H x W; the target as the label type takes it. Make
            it without random transforms: the core resizes and augments.
        split: Starts the cases' ids, which are unique over all splits.
        patient: Index to patient; default: a patient a case.

    Returns:
        A case an item, none of them loaded.
    """
    return _cases(dataset, split, 0, 1, patient)


def cases_from_huggingface(
    dataset: Any,
    split: str,
    image: str = "image",
    label: str = "label",
    patient: str | None = None,
) -> list[ItemCase]:
    """The cases of one split of a Hugging Face dataset (library ``datasets``).

    Args:
        dataset: Has a length, gives a dict for an index, and a column for a name: what
            ``datasets.load_dataset(..., split=...)`` returns.
        split: Starts the cases' ids, which are unique over all splits.
        image: The column of images.
        label: The column of raw targets.
        patient: The column of patients; default: a patient a case.

    Returns:
        A case a row, none of them loaded.
    """
    patients = list(dataset[patient]) if patient else []
    return _cases(dataset, split, image, label, patients.__getitem__ if patient else None)


def _cases(
    dataset: Any,
    split: str,
    image: int | str,
    target: int | str,
    patient: Callable[[int], Any] | None,
) -> list[ItemCase]:
    items = _Items(dataset)
    names = [f"{split}/{index:06}" for index in range(len(dataset))]
    return [
        ItemCase(name, str(patient(index)) if patient else name, items, index, image, target)
        for index, name in enumerate(names)
    ]


def _as_array(image: Any) -> NDArray[Any]:
    if isinstance(image, Image.Image):
        return to_array(image)
    if hasattr(image, "permute"):  # a tensor, without importing torch
        image = image.permute(1, 2, 0) if image.ndim == 3 else image
        image = image.squeeze(2) if image.ndim == 3 and image.shape[2] == 1 else image
    return np.asarray(image)
