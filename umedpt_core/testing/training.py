"""Checks of a task at work: in a worker, in a step of training, under augmentation."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..catalogue import Catalogue
from ..data.augment import Augmentation, resize
from ..data.batch import Batch
from ..data.loader import common_size
from ..engine.model import Model, build_blocks
from ..engine.train import train
from ..label_type import IGNORE, LabelType
from ..mix import Architecture, DecoderSettings, EncoderSettings
from .kit import Failure, NotApplicable, Result, check
from .plugin import run_python
from .tasks import TaskSubject
from .worker import batch_of, digest

SMALL = Architecture(
    encoder=EncoderSettings(name="mobilenetv3_small_050"),
    decoders=DecoderSettings(pixels=16, pyramid=16),
)
LOWEST, HIGHEST = 0.5, 1.5
"""What 'about 1' means for the loss of one batch."""
WORKER = "from umedpt_core.testing.worker import work; work()"


@check(
    "task",
    "a spawned worker finds it by name and gives the same batch",
    hint="what a case gives may depend on its files and its seed only, and must import anew",
    needs=("cases", "pickles"),
)
def worker(subject: TaskSubject) -> None:
    """A new process opens the task by name, and unpickles it; both times its batch is ours."""
    shared = subject.examination.shared
    if "worker" not in shared:
        shared["worker"] = _ask_worker(subject)
    answers = shared["worker"].get(subject.name, ("it gave no answer",) * 2)
    for way, answer in zip(("by name", "pickled"), answers, strict=True):
        if " " in answer:
            raise Failure(f"{way}: {answer}")
        if answer != digest(batch_of(subject.small)):
            raise Failure(f"opened {way} there, its batch differs from the one here")


def _ask_worker(subject: TaskSubject) -> dict[str, list[str]]:
    """One process answers for all tasks of the distribution that got so far."""
    examination = subject.examination
    orders = []
    for other in examination.subjects:
        if not isinstance(other, TaskSubject) or not all(
            _fine(examination.result(need, other)) for need in ("cases", "pickles")
        ):
            continue
        path = other.folder("worker") / "task.pickle"
        path.write_bytes(pickle.dumps(other.small))
        orders.append([other.name, str(other.root or ""), str(path)])
    blocked = [p.distribution for p in examination.catalogue.plugins if p.status == "blocked"]
    said = run_python(WORKER, json.dumps({"blocked": blocked, "orders": orders})).splitlines()
    return dict(json.loads(line) for line in said if line.startswith('["'))


def _fine(result: Result) -> bool:
    return result.status != "failed" and not result.blocked


@check(
    "task",
    "one step is finite, starts at about 1, and reaches the encoder",
    hint="the label type's loss must fit the task's targets; see label_options",
    needs=("cases",),
)
def step(subject: TaskSubject) -> None:
    """One accumulation step of a small model on the fake data."""
    batch = batch_of(subject.small)
    if not len(batch):
        raise Failure(f"the batch is empty: {batch.skips[0].reason if batch.skips else '?'}")
    catalogue = subject.examination.catalogue
    needs = catalogue.find("label type", subject.spec.label_type).spec.blocks
    recorder = train_step(small_model(catalogue, needs, {subject.name: subject.small.label}), batch)
    if not LOWEST <= recorder.loss <= HIGHEST:
        raise Failure(f"the first loss is {recorder.loss:.3g}, not {LOWEST} to {HIGHEST}")
    recorder.check_gradients()


def small_model(catalogue: Catalogue, needs: Any, labels: dict[str, LabelType]) -> Model:
    """A small model for these label types, the same every time."""
    norm = SMALL.norm if SMALL.norm in catalogue.norms else None
    architecture = SMALL.model_copy(update={"norm": norm})
    return Model(build_blocks(catalogue, needs, architecture, seed=0), labels, seed=0)


class Recorder:
    """Stands for a run and its optimizer: keeps the loss, and the gradients at the step."""

    seed = 0

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.loss = math.nan
        self.gradients: dict[str, Tensor] = {}

    def record(self, batch: Batch, loss: Tensor | None) -> None:
        """Note the loss."""
        self.loss = math.nan if loss is None else float(loss)

    def before_update(self) -> None:
        """Nothing to sum or to clip."""

    def end_step(self) -> bool:
        """One step is enough."""
        return True

    def zero_grad(self, set_to_none: bool) -> None:
        """Forget the gradients."""
        self.model.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Keep the gradients."""
        self.gradients = {
            name: parameter.grad.clone()
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None
        }

    def check_gradients(self) -> None:
        """Raise Failure unless they are finite and reach head and encoder."""
        for name, gradient in self.gradients.items():
            if not gradient.isfinite().all():
                raise Failure(f"the gradient of {name} is not finite")
        for part in ("heads", "blocks.encoder"):
            if not any(g.any() for name, g in self.gradients.items() if name.startswith(part)):
                raise Failure(f"no gradient reaches {part.removeprefix('blocks.')}")


def train_step(model: Model, batch: Batch) -> Recorder:
    """Algorithm 1 on one batch."""
    recorder = Recorder(model)
    torch.manual_seed(0)
    train(model, [batch.to("cpu")], cast(Any, recorder), cast(Any, recorder))
    return recorder


@check(
    "task",
    "targets survive augmentation",
    hint="the profile must keep the image's size; the label type must take what it moves",
    needs=("cases",),
)
def augmented(subject: TaskSubject) -> None:
    """The label type takes them as before, masks keep their type, boxes stay inside."""
    task = subject.reading.task
    if task.augmentation is None:
        raise NotApplicable("the task asks for no augmentation")
    augmentation = Augmentation(task.augmentation, task.geometry)
    for number, (_, case, instance) in enumerate(subject.reading.read[:8]):
        size = common_size(task.instances.size, [instance.images[0].shape[:2]])
        image, target = resize(instance.images[0], instance.target, size, task.geometry)
        for seed in range(4 * number, 4 * number + 4):
            moved, moved_target = augmentation(image, target, seed)
            problem = moved_wrongly(image, moved, task.geometry, target, moved_target)
            try:
                _, dropped = task.label.check(moved_target, moved.shape[:2])
            except ValueError as error:
                problem = problem or str(error)
            else:
                problem = problem or (f"{dropped} annotations are unusable" if dropped else "")
            if problem:
                raise Failure(f"{case.id}, seed {seed}: {problem}")


def moved_wrongly(image: Any, moved: Any, geometry: str, target: Any, moved_target: Any) -> str:
    """What is wrong with an augmented instance; empty if nothing is."""
    if moved.shape != image.shape or moved.dtype != image.dtype:
        was, now = (f"{a.dtype} {a.shape}" for a in (image, moved))
        return f"the image was {was} and is {now}"
    if moved.dtype == np.float32 and not (moved.min() >= 0 and moved.max() <= 1):
        return f"values from {moved.min()} to {moved.max()}, not in [0, 1]"
    return target_moved_wrongly(image.shape[:2], geometry, target, moved_target)


def target_moved_wrongly(size: tuple[int, ...], geometry: str, before: Any, after: Any) -> str:
    """What is wrong with a moved target; empty if nothing is."""
    if geometry == "mask":
        if after.shape != before.shape or after.dtype != before.dtype:
            return f"the mask was {before.dtype} {before.shape}, is {after.dtype} {after.shape}"
        if made_up := sorted(
            set(np.unique(after).tolist()) - {*np.unique(before).tolist(), IGNORE}
        ):
            return f"the mask got values that it had not: {made_up[:3]}"
    elif geometry in ("boxes", "keypoints"):
        positions = after[geometry]
        if len(positions) != len(after["labels"]) or len(positions) > len(before["labels"]):
            return f"{len(before['labels'])} {geometry} became {len(positions)}"
        limit = np.array([size[1], size[0]] * (positions.shape[1] // 2))
        if not ((positions >= 0) & (positions <= limit)).all():
            return f"{geometry} outside the image"
    return ""
