"""Composing an augmentation profile so that image, mask and boxes move together."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..label_type import IGNORE
from ..specs import resolve

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

Pair = tuple[NDArray[Any], Any]
Augment = Callable[[NDArray[Any], Any, int], Pair]


class Augmentation:
    """An augmentation profile at work for one label type's geometry (paper: Data augmentation).

    Args:
        image: Import string of ``() -> list of albumentations transforms``; None changes nothing.
        geometry: What moves with the image: ``none``, ``mask``, ``boxes`` or ``keypoints``.

    Raises:
        ConfigError: The profile's transforms do not compose.
    """

    def __init__(self, image: str | None, geometry: str) -> None:
        self.geometry = geometry
        transforms = resolve(image)() if image else []
        _outside_is_ignored(transforms)
        try:
            self._compose = _compose(transforms, geometry) if transforms else None
        except (ValueError, TypeError) as error:
            raise ConfigError(f"augmentation '{image}' does not compose: {error}") from error

    def __call__(self, image: NDArray[Any], target: Any, seed: int) -> Pair:
        """Augment one instance.

        Args:
            image: H x W x 3, uint8 or float32 in [0, 1].
            target: The checked target of the label type.
            seed: Decides everything random.

        Returns:
            Image and target after augmentation, of the same types and the same H and W.
        """
        if self._compose is None:
            return image, target
        # Not set_random_seed: that starts every transform alike, so that all act or none does.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311
        if self.geometry == "mask":
            moved = self._compose(image=image, mask=target)
            return moved["image"], moved["mask"]
        if self.geometry in ("boxes", "keypoints"):
            key = "bboxes" if self.geometry == "boxes" else "keypoints"
            name = self.geometry
            moved = self._compose(image=image, **{key: target[name], "labels": target["labels"]})
            positions = np.asarray(moved[key], np.float32).reshape(-1, target[name].shape[1])
            labels = np.asarray(moved["labels"], np.int64).reshape(-1)
            return moved["image"], {name: positions, "labels": labels}
        return self._compose(image=image)["image"], target


def _compose(transforms: list[Any], geometry: str) -> Any:
    import albumentations as A

    boxes = A.BboxParams(
        format="pascal_voc",
        label_fields=["labels"],
        clip=True,
        min_width=1,
        min_height=1,
        min_visibility=0.1,
    )
    keypoints = A.KeypointParams(format="xy", label_fields=["labels"], remove_invisible=True)
    return A.Compose(
        transforms,
        strict=True,
        bbox_params=boxes if geometry == "boxes" else None,
        keypoint_params=keypoints if geometry == "keypoints" else None,
    )


def resize(image: NDArray[Any], target: Any, size: tuple[int, int], geometry: str) -> Pair:
    """Resize an instance to (height, width), its target with it.

    Images shrink by area averaging and grow linearly; masks take the nearest pixel. Boxes count
    from pixel edges (0 to W), keypoints from pixel centers (0 to W - 1), as in albumentations.
    """
    import cv2

    old_h, old_w = image.shape[:2]
    height, width = size
    if (old_h, old_w) == (height, width):
        return image, target
    shrinks = height * width < old_h * old_w
    image = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    scale = np.array([width / old_w, height / old_h], np.float32)
    if geometry == "mask":
        target = cv2.resize(target, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    elif geometry == "boxes":
        target = {**target, "boxes": target["boxes"] * np.tile(scale, 2)}
    elif geometry == "keypoints":
        moved = (target["keypoints"] + 0.5) * scale - 0.5
        target = {**target, "keypoints": moved.clip(0, [width - 1, height - 1])}
    return image, target


def _outside_is_ignored(transforms: Iterable[Any]) -> None:
    """What a transform pulls in from outside the image is unknown, not class 0."""
    for transform in transforms:
        if hasattr(transform, "fill_mask"):
            transform.fill_mask = IGNORE
        _outside_is_ignored(getattr(transform, "transforms", ()))
