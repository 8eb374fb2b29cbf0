"""Predicting images and volumes that nobody has labelled, to tables, masks and boxes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from ..catalogue import Catalogue, load_catalogue
from ..data.tasks import TaskData
from ..engine.machine import choose_device, default_workers
from ..engine.model import Model, load_model, load_tasks
from ..errors import ConfigError, Interrupted, UmedptError, reason
from ..label_type import LabelType
from ..specs import TaskSpec, resolve
from .inputs import Input, find_inputs
from .loaded import Loaded, load
from .pace import Pace
from .results import Boxes, Masks, Results, Table
from .sheet import as_tensor
from .volumes import segment

RESULTS: dict[str, type[Results]] = {"none": Table, "mask": Masks, "boxes": Boxes}
"""What a task's predictions become, by the geometry of its label type."""

A = TypeVar("A")
B = TypeVar("B")


class Predicted(NamedTuple):
    """What came of the inputs.

    Attributes:
        done: How many were predicted.
        failed: Why the others could not be, by path.
    """

    done: int
    failed: dict[str, str]


def predict(
    model: str,
    inputs: Sequence[Path | str],
    output: Path | str,
    *,
    task: str | None = None,
    overlays: bool = True,
    batch_size: int = 16,
    catalogue: Catalogue | None = None,
    device: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> Predicted:
    """Predict inputs as a task's evaluation would, and write what comes of each at once.

    Args:
        model: A run or a saved model with a head for the task.
        inputs: Images, volumes, or folders that are searched for them: what the task's instances
            are cut from. Volumes are NIfTI, MetaImage or folders with one DICOM series.
        output: A new folder: ``predictions.csv``, or ``masks/`` and ``masks.csv``, or
            ``boxes.json``; and ``overlays/``.
        task: Which of the model's tasks; it can do without where there is one.
        overlays: Draw each prediction on its input.
        batch_size: Images, or slices of a volume, at a time.
        catalogue: The installed plugins; default: found now.
        device: A torch device; default: the GPU where there is one.
        workers: Threads that read and write; volumes are read one ahead. Default: one less than
            the cores, at most 8.
        quiet: Show no progress; unusable inputs are shown anyway.

    Raises:
        ConfigError: Model, task, inputs or output folder are not right.
        UmedptError: Nothing could be predicted, or the results cannot be written.
        Interrupted: Stopped by Ctrl-C; what is done is written.
    """
    folder = Path(output)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"--output {folder}: exists and is not empty; choose another folder")
    catalogue = catalogue or load_catalogue()
    name, spec = _choose(load_tasks(model), model, task)
    geometry = catalogue.find("label type", spec.label_type).spec.geometry
    _check(name, spec, geometry)
    found = find_inputs(inputs, volumes=spec.instances.kind != "whole")
    target = choose_device(device)
    loaded_model = load_model(model, catalogue).to(target)
    data = _without_cases(spec, loaded_model.labels[name], geometry, batch_size)
    pace = Pace(len(found), quiet)
    results = RESULTS[geometry](data, folder, overlays)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _run(loaded_model, data, found, results, pace, overlays, workers)
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped: {pace.done} of {len(found)} are in {folder}") from error
    except OSError as error:
        raise UmedptError(f"cannot write to {folder}: {reason(error)}; free some space") from error
    except torch.OutOfMemoryError as error:
        raise UmedptError(f"{target} is out of memory; lower --batch-size") from error
    finally:
        pace.close()
    if len(pace.failed) == len(found):
        raise UmedptError(f"none of {len(found)} input(s) could be used; see the lines above")
    return Predicted(pace.done, pace.failed)


def _choose(specs: dict[str, TaskSpec], model: str, task: str | None) -> tuple[str, TaskSpec]:
    names = ", ".join(sorted(specs))
    if task is None and len(specs) > 1:
        raise ConfigError(f"{model} has several tasks; choose one with --task: {names}")
    name = task or next(iter(specs))
    if name not in specs:
        raise ConfigError(f"--task {name}: {model} has no head for it; it has {names}")
    return name, specs[name]


def _check(name: str, spec: TaskSpec, geometry: str) -> None:
    kind = spec.instances.kind
    if kind == "patches":
        raise ConfigError(f"task {name}: slides are not predicted yet; predict images or volumes")
    if (kind == "slices" and geometry != "mask") or (kind == "bag" and geometry != "none"):
        raise ConfigError(
            f"task {name}: of volumes only masks and the labels of bags are predicted"
        )
    if geometry not in RESULTS:
        raise ConfigError(f"task {name}: {geometry} are not written to files yet")
    if ":" in spec.intensity:
        try:
            resolve(spec.intensity)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"task {name}: its intensity rule {spec.intensity} is not installed ({error}); "
                f"install the plugin that brings {name}"
            ) from error


def _without_cases(spec: TaskSpec, label: LabelType, geometry: str, batch_size: int) -> TaskData:
    return TaskData(
        name=spec.name,
        cases={},
        label=label,
        geometry=geometry,
        instances=spec.instances,
        intensity=spec.intensity,
        augmentation=None,
        volume_augmentation=None,
        batch_size=batch_size,
    )


def _run(
    model: Model,
    task: TaskData,
    inputs: Sequence[Input],
    results: Results,
    pace: Pace,
    overlays: bool,
    workers: int | None,
) -> None:
    """Read ahead, predict, and write behind, in the order of the inputs."""
    single = task.instances.kind != "whole"
    threads = 2 if single else max(1, default_workers(workers))
    ahead = 1 if single else 2 * threads

    def read(source: Input) -> tuple[Input, Loaded | str]:
        try:
            return source, load(task, source, overlays)
        except ConfigError:
            raise
        except Exception as error:  # a decoder may raise anything
            return source, reason(error)

    def usable() -> Iterator[Loaded]:
        for source, loaded in _mapped(pool, read, inputs, ahead):
            if isinstance(loaded, str):
                pace.fail(source, loaded)
            else:
                yield loaded

    pool = ThreadPoolExecutor(threads)
    try:
        batches = _batches(usable(), 1 if single else task.batch_size)
        answered = (pair for batch in batches for pair in _answer(model, task, batch))
        written = _mapped(pool, lambda pair: (pair[0], results.files(*pair)), answered, ahead)
        for loaded, facts in written:
            results.add(loaded, facts)
            pace.step()
    finally:
        pool.shutdown(cancel_futures=True)
        if pace.done:
            results.close()


def _mapped(
    pool: ThreadPoolExecutor, function: Callable[[A], B], items: Iterable[A], ahead: int
) -> Iterator[B]:
    """The results in order, while at most so many items are worked on ahead."""
    waiting: deque[Future[B]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        while len(waiting) > ahead or (waiting and waiting[0].done()):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batches(loaded: Iterable[Loaded], most: int) -> Iterator[list[Loaded]]:
    """Inputs that follow each other and have one size for the model."""
    batch: list[Loaded] = []
    for one in loaded:
        if batch and (len(batch) == most or one.images[0].shape != batch[0].images[0].shape):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


@torch.no_grad()
def _answer(model: Model, task: TaskData, batch: list[Loaded]) -> list[tuple[Loaded, Any]]:
    """The inputs with their items of the label type's ``unbatch``."""
    if task.instances.kind == "slices":
        masks = (segment(model, task, one.images[0], one.shape, task.batch_size) for one in batch)
        return list(zip(batch, masks, strict=True))
    device = next(model.parameters()).device
    x_BCHW = as_tensor([image for one in batch for image in one.images]).to(device)
    x_BCHW = x_BCHW[None] if task.instances.kind == "bag" else x_BCHW
    items = task.label.unbatch(model.predict(task.name, x_BCHW))
    return list(zip(batch, items, strict=True))
