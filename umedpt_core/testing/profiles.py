"""Checks of augmentation profiles, norms and loggers."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from ..data.augment import Augmentation
from ..specs import resolve
from .kit import SUBJECTS, Failure, NotApplicable, Subject, check, describe
from .training import moved_wrongly, target_moved_wrongly
from .watch import Watch

HEIGHT, WIDTH = 64, 96
SEEDS = range(12)
GEOMETRIES = ("none", "mask", "boxes", "keypoints")


class AugmentationSubject(Subject):
    """An augmentation profile, composed for every geometry."""

    @cached_property
    def composed(self) -> dict[str, Augmentation]:
        """By geometry."""
        if self.spec.image is None:
            raise NotApplicable("the profile has no image transforms")
        return {geometry: Augmentation(self.spec.image, geometry) for geometry in GEOMETRIES}


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


CHANNELS = 48
NORMS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "BatchNorm2d": (nn.BatchNorm2d(CHANNELS), (2, CHANNELS, 6, 4)),
    "InstanceNorm2d": (nn.InstanceNorm2d(CHANNELS), (2, CHANNELS, 6, 4)),
    "GroupNorm": (nn.GroupNorm(4, CHANNELS), (2, CHANNELS, 6, 4)),
    "LayerNorm": (nn.LayerNorm(CHANNELS), (2, 6, CHANNELS)),
    "RMSNorm": (nn.RMSNorm(CHANNELS), (2, 6, CHANNELS)),
    # A layer norm by class, but of maps: timm's ConvNeXt is built with it.
    "LayerNorm2d": (LayerNorm2d(CHANNELS), (2, CHANNELS, 6, 4)),
}
"""The norms that timm's encoders and our decoders are made of, with the shape of an input."""


@check(
    "norm",
    "swap gives a module, or None",
    hint="swap is (old module, channels) -> nn.Module, or None to leave the old one",
    needs=("resolves",),
)
def swaps(subject: Subject) -> None:
    """For every kind of norm."""
    for name, (old, _) in NORMS.items():
        new = resolve(subject.spec.swap)(old, CHANNELS)
        if new is not None and not isinstance(new, nn.Module):
            raise Failure(f"for {name} it gives {type(new).__name__}")


@check(
    "norm",
    "swapped norms keep shapes and are finite",
    hint="norms of maps get B x C x H x W, those of tokens B x N x C",
    needs=("swaps",),
)
def norms(subject: Subject) -> None:
    """In training and afterwards, with gradients."""
    for name, (old, shape) in NORMS.items():
        new = resolve(subject.spec.swap)(old, CHANNELS)
        if new is None:
            continue
        for training in (True, False):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
            y: Tensor = new.train(training)(x)
            if y.shape != x.shape:
                raise Failure(f"for {name}, {tuple(x.shape)} becomes {tuple(y.shape)}")
            y.square().sum().backward()  # type: ignore[no-untyped-call]
            if not y.isfinite().all() or x.grad is None or not x.grad.isfinite().all():
                raise Failure(f"for {name}, outputs or gradients are not finite")


EVENTS: tuple[dict[str, Any], ...] = (
    {"event": "eval", "step": 0, "epoch": 0, "split": "val", "task": "a", "loss": 1.0, "f1": 0.5},
    {
        "event": "train",
        "step": 1,
        "epoch": 1,
        "split": "train",
        "task": "a",
        "loss": 0.9,
        "seconds": 0.01,
    },
    {
        "event": "skip",
        "step": 1,
        "epoch": 1,
        "split": "train",
        "task": "a",
        "case": "x.png",
        "reason": "damaged",
    },
    {"event": "end", "step": 1, "epoch": 1, "skipped": {"a": 1}, "dropped": {}},
)
"""One of each kind; see docs/mixes.md, metrics.jsonl."""


class LoggerSubject(Subject):
    """A logger that was opened on a run's folder, told all kinds of events, and closed."""

    @cached_property
    def logged(self) -> tuple[Watch, str]:
        """What it wrote elsewhere, and what went wrong."""
        run = self.folder("run")
        with Watch(self.folder("elsewhere"), run, offline=False) as watch:
            try:
                logger = resolve(self.spec.open)(run)
                for event in EVENTS:
                    doing = f"log(event {event['event']})"
                    logger.log(dict(event))
                doing = "close()"
                logger.close()
            except Exception as error:
                return watch, f"{locals().get('doing', 'open')} raised {describe(error)}"
        return watch, ""


SUBJECTS["logger"] = LoggerSubject


@check(
    "logger",
    "it opens, takes every kind of event, and closes",
    hint="log(event) gets the rows of metrics.jsonl; ignore those that mean nothing to you",
    needs=("resolves",),
)
def logs(subject: LoggerSubject) -> None:
    """Nothing is raised."""
    if problem := subject.logged[1]:
        raise Failure(problem)


@check(
    "logger",
    "it writes into the run's folder only",
    hint="make every path from the folder that open gets",
    needs=("logs",),
)
def logger_contained(subject: LoggerSubject) -> None:
    """Nothing appears in the working, home, temporary or any other folder."""
    if strays := subject.logged[0].strays:
        raise Failure(f"it wrote {', '.join(strays[:3])}")
