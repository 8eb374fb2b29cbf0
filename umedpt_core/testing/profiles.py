"""Checks of an augmentation profile."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.augment import Augmentation
from ..data.augment3d import Moved, VolumeAugmentation
from ..label_type import IGNORE
from .kit import SUBJECTS, Failure, NotApplicable, Subject, check
from .training import moved_wrongly, target_moved_wrongly

HEIGHT, WIDTH = 64, 96
SEEDS = range(12)
GEOMETRIES = ("none", "mask", "boxes", "keypoints")
VOLUMES = ((20, 32, 24), (6, 40, 32))
"""Edges of a volume that is nearly cubic, and of one of few slices."""


class AugmentationSubject(Subject):
    """An augmentation profile, composed for every geometry."""

    @cached_property
    def composed(self) -> dict[str, Augmentation]:
        """By geometry."""
        if self.spec.image is None:
            raise NotApplicable("the profile has no image transforms")
        return {geometry: Augmentation(self.spec.image, geometry) for geometry in GEOMETRIES}

    @cached_property
    def composed_volume(self) -> VolumeAugmentation:
        """For volumes."""
        if self.spec.volume is None:
            raise NotApplicable("the profile has no volume transforms")
        return VolumeAugmentation(self.spec.volume, None)

    def volumes(self, channels: int = 1) -> Iterator[tuple[str, NDArray[Any], Moved]]:
        """Volumes of noise, all of one class, before and after, over a few seeds."""
        affine = np.diag([-3.0, -1.5, -1.5, 1.0])[[2, 1, 0, 3]]  # thick axial slices
        for shape in VOLUMES:
            noise = np.random.default_rng(0).random((*shape, channels), dtype=np.float32)
            mask = np.ones(shape, np.uint8)
            for seed in SEEDS:
                moved = self.composed_volume(noise, mask, None, affine, seed)
                yield f"{' x '.join(map(str, shape))}, seed {seed}", noise, moved


SUBJECTS["augmentation"] = AugmentationSubject


def scene(geometry: str, dtype: Any) -> tuple[Any, Any]:
    """An image of noise, and a target."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels = np.array([0, 1], np.int64)
    boxes = np.array([[8, 8, 40, 30], [50, 20, 96, 64]], np.float32)
    target = {
        "none": 1,
        "mask": rng.integers(0, 3, (HEIGHT, WIDTH), dtype=np.uint8),
        "boxes": {"boxes": boxes, "labels": labels},
        "keypoints": {"keypoints": boxes[:, :2], "labels": labels},
    }[geometry]
    return (image if dtype == np.uint8 else image.astype(np.float32) / 255), target


@check(
    "augmentation",
    "the profile composes strictly",
    hint="an unknown or wrong argument of a transform is an error; see the message",
    needs=("resolves",),
)
def composes(subject: AugmentationSubject) -> None:
    """For images alone, masks, boxes and keypoints."""
    _ = subject.composed


@check(
    "augmentation",
    "images keep size, type and range",
    hint="transforms get H x W x 3, uint8 or float32 in [0, 1], and give the same",
    needs=("composes",),
)
def images(subject: AugmentationSubject) -> None:
    """Both types, over a few seeds."""
    for dtype in (np.uint8, np.float32):
        for seed in SEEDS:
            image, target = scene("none", dtype)
            moved, _ = subject.composed["none"](image, target, seed)
            if problem := moved_wrongly(image, moved, "none", target, target):
                raise Failure(f"{dtype.__name__}, seed {seed}: {problem}")


@check(
    "augmentation",
    "masks, boxes and keypoints move along",
    hint="use transforms that support the target, and keep masks' integers",
    needs=("composes",),
)
def moves(subject: AugmentationSubject) -> None:
    """Both types, over a few seeds."""
    for geometry in GEOMETRIES[1:]:
        for dtype in (np.uint8, np.float32):
            for seed in SEEDS:
                image, before = scene(geometry, dtype)
                _, after = subject.composed[geometry](image, before, seed)
                problem = target_moved_wrongly((HEIGHT, WIDTH), geometry, before, after)
                if problem:
                    raise Failure(f"{dtype.__name__}, seed {seed}: {problem}")


@check(
    "augmentation",
    "the seed decides everything",
    hint="draw from self.py_random and self.random_generator, never from random or numpy.random",
    needs=("images",),
)
def seeded(subject: AugmentationSubject) -> None:
    """The same seed twice gives the same image, and the one given in stays as it is."""
    image, target = scene("none", np.uint8)
    kept = image.copy()
    for seed in SEEDS:
        first, _ = subject.composed["none"](image, target, seed)
        again, _ = subject.composed["none"](image, target, seed)
        if (first != again).any():
            raise Failure(f"two images for seed {seed}")
        if (image != kept).any():
            raise Failure(f"seed {seed} changes the image that was given in")


@check(
    "augmentation",
    "the volume transforms compose strictly",
    hint="MONAI dictionary transforms for the keys image and mask, with allow_missing_keys=True",
    needs=("resolves",),
)
def volume_composes(subject: AugmentationSubject) -> None:
    """As lazy transforms, by the core."""
    _ = subject.composed_volume


@check(
    "augmentation",
    "volumes stay volumes, of as many channels, with the mask in place",
    hint="give one volume for one, never a list, and move image and mask alike",
    needs=("volume-composes",),
)
def volumes(subject: AugmentationSubject) -> None:
    """One channel and three; and a volume without a mask."""
    for channels in (1, 3):
        for where, before, moved in subject.volumes(channels):
            shape, mask = moved.image.shape, moved.mask
            if len(shape) != 4 or shape[3] != channels or not moved.image.size:
                raise Failure(f"{where}: the volume was {before.shape} and is {shape}")
            if not np.isfinite(moved.image).all():
                raise Failure(f"{where}: not all values are finite")
            if mask is None or mask.shape != shape[:3]:
                raise Failure(f"{where}: the mask does not have the volume's shape")
    subject.composed_volume(before, None, None, np.eye(4), 0)


@check(
    "augmentation",
    "in a volume's mask, what comes from outside is unknown",
    hint="transforms see masks in which 0 is unknown and a class one more than its index",
    needs=("volumes",),
)
def volume_outside(subject: AugmentationSubject) -> None:
    """A mask of one class gets no other value than 255."""
    for where, _, moved in subject.volumes():
        if made_up := sorted(set(np.unique(np.asarray(moved.mask)).tolist()) - {1, IGNORE}):
            raise Failure(f"{where}: the mask got values that it had not: {made_up[:3]}")


@check(
    "augmentation",
    "the seed decides everything in 3D, too",
    hint="draw from self.R of MONAI's Randomizable, never from random or numpy.random",
    needs=("volumes",),
)
def volume_seeded(subject: AugmentationSubject) -> None:
    """The same seed twice gives the same volume."""
    twice = zip(subject.volumes(), subject.volumes(), strict=True)
    for (where, _, first), (_, _, again) in twice:
        if not np.array_equal(first.image, again.image):
            raise Failure(f"{where}: two volumes for one seed")
