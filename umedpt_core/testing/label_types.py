"""Checks of a label type: its targets and its loss."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.batch import Batch, Ticket
from ..label_type import LabelType
from ..specs import resolve
from .kit import SUBJECTS, Failure, Subject, check
from .training import HIGHEST, LOWEST, Recorder, small_model, target_moved_wrongly, train_step
from .worker import digest

SIZE = (64, 96)
SEEDS = range(5)


class LabelSubject(Subject):
    """A label type at work for made-up classes, and batches of its random targets."""

    @cached_property
    def label(self) -> LabelType:
        """For three classes, or as many of fewer as it takes."""
        for number in (3, 2):
            with suppress(TypeError, ValueError):
                return self._make(number)
        return self._make(1)

    def _make(self, number: int) -> LabelType:
        classes = tuple(f"class {c}" for c in range(number))
        made: LabelType = resolve(self.spec.factory)(classes, **self.spec.example)
        return made

    def targets(self, seed: int) -> list[Any]:
        """Four checked random targets."""
        rng = np.random.default_rng(seed)
        raw = [self.label.random_target(SIZE, rng) for _ in range(4)]
        return [self.label.check(target, SIZE)[0] for target in raw]

    def batch(self, seed: int, bags: tuple[int, ...] = ()) -> Batch:
        """Random images, or four bags of them, with random targets."""
        generator = torch.Generator().manual_seed(seed)
        x_BCHW = torch.rand(sum(bags) or 4, 3, *SIZE, generator=generator)
        ticket = Ticket("train", self.name, seed, ends_step=True)
        target = self.label.collate(self.targets(seed))
        return Batch(ticket, x_BCHW, target, tuple("abcd"), bags=bags)

    @cached_property
    def steps(self) -> list[Recorder]:
        """One step of a new model for each seed."""
        return [train_step(self.model(), self.batch(seed)) for seed in SEEDS]

    @cached_property
    def steps_on_bags(self) -> list[Recorder]:
        """Likewise, with bags of images; none where the label type cannot take them."""
        with suppress(Exception):
            return [train_step(self.model(), self.batch(seed, (1, 2, 3, 2))) for seed in SEEDS]
        return []

    @cached_property
    def predictions(self) -> list[tuple[Any, Any]]:
        """A model's predictions and the targets, batch by batch."""
        model = self.model().eval()
        batches = [self.batch(seed) for seed in SEEDS]
        with torch.no_grad():
            return [(model.predict(self.name, b.x_BCHW), b.target) for b in batches]

    def model(self) -> Any:
        """A small model with one head."""
        return small_model(self.examination.catalogue, self.spec.blocks, {self.name: self.label})


SUBJECTS["label type"] = LabelSubject


@check(
    "label type",
    "the factory makes a LabelType that pickles",
    hint="subclass umedpt_core.LabelType, keep no lambdas on it; see LabelTypeSpec.example",
    needs=("resolves",),
)
def makes(subject: LabelSubject) -> None:
    """For some number of classes; all that is abstract is there."""
    if not isinstance(subject.label, LabelType):
        raise Failure(f"it makes {type(subject.label).__name__}, no LabelType")
    pickle.loads(pickle.dumps(subject.label))  # noqa: S301 - our own


@check(
    "label type",
    "random targets are valid and seeded, and a checked one stays as it is",
    hint="random_target draws from rng only; check gives the canonical form, also of itself",
    needs=("makes",),
)
def targets(subject: LabelSubject) -> None:
    """Checking drops nothing of them, gives the form of its geometry, and is idempotent."""
    label = subject.label
    for seed in SEEDS:
        raw = label.random_target(SIZE, np.random.default_rng(seed))
        if dump(raw) != dump(label.random_target(SIZE, np.random.default_rng(seed))):
            raise Failure(f"random_target gives two targets for the same generator ({seed})")
        target, dropped = label.check(raw, SIZE)
        if dropped:
            raise Failure(f"check drops {dropped} annotations of a random target ({seed})")
        if dump(label.check(target, SIZE)[0]) != dump(target):
            raise Failure("check changes a target that it has checked")
        check_form(subject.spec.geometry, target)


def check_form(geometry: str, target: Any) -> None:
    """Raise Failure unless a checked target has the form that the core can move."""
    if geometry == "mask":
        if not isinstance(target, np.ndarray) or target.shape != SIZE:
            raise Failure(f"a mask is an array of {SIZE}, not {type(target).__name__}")
    elif geometry != "none":
        if not isinstance(target, dict) or not {geometry, "labels"} <= target.keys():
            raise Failure(f"a checked target is a dict with {geometry} and labels")
        if target[geometry].dtype != np.float32:
            raise Failure(f"{geometry} are {target[geometry].dtype}, not float32")
    if problem := target_moved_wrongly(SIZE, geometry, target, target):
        raise Failure(problem)


@check(
    "label type",
    "collate makes tensors",
    hint="give a tensor, or a list or dict of them: the core moves them to the device",
    needs=("targets",),
)
def collates(subject: LabelSubject) -> None:
    """All that a batch's target holds is tensors, and a batch has a digest."""
    batch = subject.batch(0)
    for leaf in leaves(batch.target):
        if not isinstance(leaf, Tensor):
            raise Failure(f"it gives {type(leaf).__name__}, which is no tensor")
    digest(batch)


@check(
    "label type",
    "the loss is about 1 at random initialisation",
    hint="divide by its value for predictions that know nothing; small_head starts at 0",
    needs=("collates",),
)
def loss(subject: LabelSubject) -> None:
    """On random images and targets, over a few seeds."""
    losses = [recorder.loss for recorder in subject.steps]
    if not LOWEST <= (mean := sum(losses) / len(losses)) <= HIGHEST:
        raise Failure(f"its mean is {mean:.3g} over {len(losses)} seeds, not {LOWEST} to {HIGHEST}")


@check(
    "label type",
    "finite gradients reach the head and the encoder",
    hint="build the loss on blocks' outputs without detach, argmax or numpy",
    needs=("loss",),
)
def gradients(subject: LabelSubject) -> None:
    """In every seed, and all of the head in some."""
    for recorder in subject.steps:
        recorder.check_gradients()
    heads = [name for name, _ in subject.model().named_parameters() if name.startswith("heads.")]
    for name in heads:
        # What weighs the instances of a bag against each other has nothing to do for one image.
        if not reached(name, subject.steps) and not reached(name, subject.steps_on_bags):
            raise Failure(f"no gradient ever reaches {name.removeprefix(f'heads.{subject.name}.')}")


def reached(name: str, steps: list[Recorder]) -> bool:
    """Whether a parameter gets a gradient other than 0 in some step."""
    return any(name in step.gradients and bool(step.gradients[name].any()) for step in steps)


def leaves(value: Any) -> Iterator[Any]:
    """What nested lists and dicts hold."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


def dump(target: Any) -> str:
    """A target as text, whatever it is made of."""
    if isinstance(target, dict):
        return str({key: dump(value) for key, value in target.items()})
    return f"{np.asarray(target).dtype} {np.asarray(target).tolist()}"
