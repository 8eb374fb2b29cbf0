"""Adapting a model to one task (paper: Clinical validation, the frozen setting)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..catalogue import Catalogue, load_catalogue
from ..counters import seed_of
from ..data.batch import Batch
from ..data.cache import Cache
from ..data.loader import Instances, make_loader
from ..data.tasks import TaskData, open_task
from ..data.visits import cache_for
from ..engine.evaluate import evaluate
from ..engine.events import FILE as EVENTS
from ..engine.events import Events, open_loggers
from ..engine.machine import choose_device, default_workers, environment
from ..engine.model import Model, blocks_needed, load_blocks, save_model
from ..engine.progress import Progress
from ..engine.schedule import evaluation
from ..errors import ConfigError, DataError, UmedptError
from ..specs import LabelTypeSpec
from ..use.sheet import prediction_sheet
from ..use.volumes import score_volumes

CACHE_BYTES = 4 << 30
"""Shared features are kept in memory up to this size, else computed anew in every epoch."""


def adapt(
    model: str,
    task: str,
    output: Path | str,
    *,
    mode: Literal["frozen"] = "frozen",
    catalogue: Catalogue | None = None,
    epochs: int = 100,
    lr: float = 1e-3,
    batch_size: int = 16,
    image_size: int | None = None,
    options: dict[str, Any] | None = None,
    seed: int = 0,
    data_root: Path | str | None = None,
    root: Path | str | None = None,
    device: str | None = None,
    workers: int | None = None,
    cache_gb: float = 8.0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train a task's head on fixed shared blocks, then score it on the task's test split.

    The head is one linear layer, or one convolution for dense predictions. As in the paper it
    trains for a fixed number of epochs without validation, here on images as they are, not
    augmented, so that the shared features are computed only once.

    Args:
        model: A run, a saved model, ``timm:NAME[@weights file]`` or ``random:NAME``.
        task: A registered task.
        output: A new folder for ``metrics.json``, ``metrics.jsonl``, ``model/`` and
            ``predictions.png``.
        mode: ``frozen``.
        catalogue: The installed plugins; default: found now.
        epochs: Passes over the train split.
        lr: AdamW's learning rate for the head.
        batch_size: Instances a batch.
        image_size: Side of the square that every instance becomes; None: as the task says.
        options: The task's options.
        seed: Decides the head's initialisation and the order of cases.
        data_root: A folder with one folder a plugin slug; default: ``UMEDPT_DATA``.
        root: The folder of the task's data.
        device: A torch device; default: the GPU where there is one.
        workers: Processes that load data.
        cache_gb: Disk space for loaded volumes, in GB, under ``UMEDPT_CACHE``.
        quiet: Show no progress.

    Returns:
        What ``metrics.json`` holds: task, split, n, metrics, and how they came about.

    Raises:
        ConfigError: Model, task, data root or output folder are not right.
        DataError: The task's data cannot be read.
    """
    folder = Path(output)
    if mode != "frozen":
        raise ConfigError(f"mode '{mode}' is unknown; use frozen")
    if folder.exists() and {path.name for path in folder.iterdir()} - {EVENTS}:
        raise ConfigError(f"--output {folder}: exists and is not empty; choose another folder")
    (folder / EVENTS).unlink(missing_ok=True)  # what a stopped one has left
    catalogue = catalogue or load_catalogue()
    spec = catalogue.find("task", task).spec
    label_type: LabelTypeSpec = catalogue.find("label type", spec.label_type).spec
    target = choose_device(device)
    data = open_task(
        catalogue,
        task,
        ("train", "test"),
        root=root,
        data_root=data_root,
        options=options,
        image_size=image_size,
        batch_size=batch_size,
    )
    with (
        cache_for([data], cache_gb) as cache,
        Progress({task: label_type.metrics[0]}, 0, epochs, quiet=quiet) as progress,
    ):
        blocks, architecture = load_blocks(
            model, catalogue, blocks_needed(catalogue, [task]), seed=seed, warn=progress.warn
        )
        adapted = Model(blocks, {task: data.label}, seed).to(target).eval()
        blocks.requires_grad_(False)
        folder.mkdir(parents=True, exist_ok=True)
        listeners = [progress, *open_loggers(catalogue, folder, progress.warn)]
        events = Events(folder, listeners, progress.warn)
        skipped: dict[str, str] = {}

        def note(batch: Batch) -> None:
            for skip in batch.skips:
                if skip.fatal and skip.case not in skipped:
                    skipped[skip.case] = skip.reason
                    row = {"step": 0, "epoch": 0, "split": batch.ticket.split, "task": task}
                    events.emit("skip", **row, case=skip.case, reason=skip.reason)

        load = _loader(data, seed, target, workers, cache, note)
        progress.warn(f"computing the features of {len(data.cases['train'])} cases")
        try:
            _fit(adapted, data, lambda: load("fit"), events, progress, epochs, lr, seed)
            results = evaluate(adapted, load("test"))
            if task not in results:
                raise DataError(f"{task}: no case of the test split can be used")
            if data.instances.kind == "slices" and data.geometry == "mask":
                scores = score_volumes(adapted, data, "test")
                results[task] |= {f"volume_{name}": value for name, value in scores.items()}
            events.emit("eval", step=epochs, epoch=epochs, split="test", task=task, **results[task])
            prediction_sheet(adapted, {task: data}, "test").save(folder / "predictions.png")
            events.emit("pictures", step=epochs, epoch=epochs, path="predictions.png")
        finally:
            events.close()
        save_model(adapted, folder / "model", architecture, [task], catalogue)
    metrics = results[task]
    report = {
        "task": task,
        "split": "test",
        "n": int(metrics.pop("n")),
        "metrics": metrics,
        "skipped": len(skipped),
        "model": model,
        "mode": mode,
        "train_cases": len(data.cases["train"]),
        "epochs": epochs,
        "lr": lr,
        "batch_size": batch_size,
        "image_size": image_size,
        "seed": seed,
    }
    (folder / "environment.json").write_text(json.dumps(environment(catalogue, [task]), indent=1))
    (folder / "metrics.json").write_text(json.dumps(report, indent=1))
    return report


class _Ready:
    """Stands for the shared blocks where a batch holds their outputs in place of images."""

    embedding = staticmethod(lambda outputs: outputs["embedding"])
    pixels = staticmethod(lambda outputs: outputs["pixels"])
    pyramid = staticmethod(lambda outputs: outputs["pyramid"])


def _fit(
    model: Model,
    data: TaskData,
    loaded: Callable[[], Iterator[Batch]],
    events: Events,
    progress: Progress,
    epochs: int,
    lr: float,
    seed: int,
) -> None:
    """Train the head; a batch keeps its cases, the order of batches changes with the epoch."""
    head: Any = model.heads[data.name]
    optimizer = torch.optim.AdamW(head.parameters(), lr, weight_decay=0.05, fused=True)
    kept = _keep(_with_features(model, batch) for batch in loaded())
    if kept is None:
        progress.warn(f"the features of {data.name} are too large to keep: computed every epoch")
    for epoch in range(epochs):
        torch.manual_seed(seed_of(seed, "order", epoch))
        if kept is None:
            batches: Iterable[Batch] = (_with_features(model, batch) for batch in loaded())
        else:
            batches = (kept[int(place)] for place in torch.randperm(len(kept)))
        losses = []
        for batch in batches:
            loss = data.label.loss(head, _Ready(), batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
        if not losses:
            raise DataError(f"{data.name}: no case of the train split can be used")
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise UmedptError(f"the loss of {data.name} is {mean}; try a lower --lr")
        progress.step(epoch + 1)
        if epoch == 0 or (epoch + 1) % 10 == 0:
            row = {"step": epoch + 1, "epoch": epoch + 1, "split": "train", "task": data.name}
            events.emit("train", **row, loss=mean)


@torch.no_grad()
def _with_features(model: Model, batch: Batch) -> Batch:
    """The batch with the outputs of the shared blocks in place of its images."""
    with model.blocks.keeping_features():
        outputs: Any = {n: getattr(model.blocks, n)(batch.x_BCHW) for n in model.blocks.dims}
    return replace(batch, x_BCHW=outputs)


def _keep(batches: Iterator[Batch]) -> list[Batch] | None:
    """The batches as a list, or None where they exceed the cache."""
    kept, size = [], 0
    for batch in batches:
        size += _bytes(batch.x_BCHW)
        if size > CACHE_BYTES:
            return None
        kept.append(batch)
    return kept


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        value = list(value.values())
    return sum(_bytes(item) for item in value) if isinstance(value, list | tuple) else 0


def _loader(
    data: TaskData,
    seed: int,
    device: torch.device,
    workers: int | None,
    cache: Cache | None,
    note: Callable[[Batch], None],
) -> Callable[[str], Iterator[Batch]]:
    """A function that gives the batches of a split, in one shuffled order, not augmented.

    The split is called by another name than train, as only train is augmented.
    """
    order = np.random.default_rng(seed_of(seed, data.name)).permutation(len(data.cases["train"]))
    data.cases["fit"] = [data.cases["train"][int(i)] for i in order]
    instances = Instances({data.name: data}, seed, cache=cache)

    def load(split: str) -> Iterator[Batch]:
        stream = evaluation({data.name: data.batches(split)}, split)
        for batch in make_loader(instances, stream, default_workers(workers)):
            note(batch)
            if len(batch):
                yield batch.to(device)

    return load
