"""Pretraining: from a mix to a run folder with a model."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..catalogue import Catalogue, load_catalogue
from ..counters import seed_of
from ..data.batch import Batch
from ..data.cache import Cache
from ..data.loader import Instances, make_loader
from ..data.tasks import TaskData, open_task
from ..data.visits import cache_for
from ..errors import ConfigError
from ..mix import Mix
from ..use.sheet import prediction_sheet
from .checkpoint import list_checkpoints, load_checkpoint
from .events import Events, forget_after, open_loggers
from .model import Model, blocks_needed, build_blocks, save_model
from .progress import Progress
from .run import Run, stopping_on_signals
from .schedule import Turn, tickets
from .train import train


def pretrain(
    mix: Mix,
    output: Path | str,
    *,
    catalogue: Catalogue | None = None,
    resume: bool = False,
    data_root: Path | str | None = None,
    roots: Mapping[str, str] | None = None,
    device: str | None = None,
    workers: int | None = None,
    cache_gb: float = 8.0,
    quiet: bool = False,
) -> Path:
    """Pretrain the shared blocks on a mix of tasks (paper: Algorithm 1).

    Args:
        mix: What to train on, and how.
        output: The run's folder; new, unless `resume`.
        catalogue: The installed plugins; default: found now.
        resume: Go on from the latest checkpoint, if there is one; a finished run stays as it is.
        data_root: A folder with one folder a plugin slug; default: ``UMEDPT_DATA``.
        roots: Task to the folder of its data, before the mix's own `root`.
        device: A torch device; default: the GPU where there is one.
        workers: Processes that load data, for all tasks together; 0: none. Results do not depend
            on it. Default: one less than the cores, at most 8.
        cache_gb: Disk space for loaded volumes, in GB, under ``UMEDPT_CACHE``. Results do not
            depend on it; where it is too small for the mix's window, cases are loaded again.
        quiet: Show no progress.

    Returns:
        The run's folder, with ``mix.yaml``, ``environment.json``, ``metrics.jsonl``,
        ``checkpoints/``, ``model/`` and ``predictions.png``.

    Raises:
        ConfigError: Mix, plugins, data roots, or the output folder are not right.
        DataError: A task's data cannot be read.
        Interrupted: Stopped on request, everything saved.
        UmedptError: A failure while running.
    """
    folder = Path(output)
    catalogue = catalogue or load_catalogue()
    mix.check(catalogue)
    _check_folder(folder, mix, resume)
    if resume and (folder / "model").is_dir():
        return folder
    target = choose_device(device)
    tasks = open_mix(mix, catalogue, data_root, roots or {})

    needs = blocks_needed(catalogue, tasks)
    blocks = build_blocks(catalogue, needs, mix.architecture, mix.seed)
    model = Model(blocks, {name: task.label for name, task in tasks.items()}, mix.seed).to(target)
    optimizer = torch.optim.AdamW(
        model.parameters(), mix.optimizer.lr, weight_decay=mix.optimizer.weight_decay, fused=True
    )
    state = _prepare_folder(folder, mix, catalogue, model, optimizer)

    def save(place: Path) -> None:
        temporary = place.with_name(f".{place.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        save_model(model, temporary, mix.architecture, tasks, catalogue)
        shutil.rmtree(place, ignore_errors=True)
        temporary.rename(place)

    best = folder / "checkpoints" / "best"
    specs = {name: catalogue.tasks[name].spec for name in tasks}
    headlines = {n: catalogue.label_types[s.label_type].spec.metrics[0] for n, s in specs.items()}
    steps = mix.epochs * mix.steps_per_epoch
    with (
        cache_for(tasks.values(), cache_gb) as cache,
        closing(_batches(mix, tasks, state, target, default_workers(workers), cache)) as batches,
        Progress(headlines, state.get("step", 0), steps, quiet=quiet) as progress,
    ):
        if blocks.swap_report.replaced:
            progress.warn(f"norm {mix.norm}: {blocks.swap_report}")
        listeners = [progress, *open_loggers(catalogue, folder, progress.warn)]
        with closing(Events(folder, listeners, progress.warn)) as events:
            run = Run(
                folder,
                mix,
                model,
                optimizer,
                tasks,
                batches,
                events,
                progress,
                (lambda: save(best)) if mix.select == "best" else (lambda: None),
                state,
            )
            with stopping_on_signals(run):
                if _evaluates_first(mix, state):
                    run.evaluate()
                if run.step < run.steps:
                    train(model, batches, optimizer, run)
            run.end()
        if cache and (again := cache.reloads()):
            progress.warn(
                f"{again} times a case was loaded again: the cache of {cache_gb:g} GB is too small "
                f"for a window of {mix.window}; next time raise --cache-gb or lower window"
            )
        if mix.select == "best" and best.is_dir():
            shutil.copytree(best, folder / "model", dirs_exist_ok=True)
        else:
            save(folder / "model")
        prediction_sheet(model, tasks, "val").save(folder / "predictions.png")
    return folder


def open_mix(
    mix: Mix, catalogue: Catalogue, data_root: Path | str | None, roots: Mapping[str, str]
) -> dict[str, TaskData]:
    """Open the train and val splits of every task of a mix, in name order.

    Raises:
        ConfigError: A data root is missing, or `roots` names a task that the mix has not.
        DataError: A task's data cannot be read.
    """
    if unknown := sorted(set(roots) - {entry.task for entry in mix.tasks}):
        raise ConfigError(f"--root names '{unknown[0]}', which is no task of the mix")
    tasks = {}
    for entry in mix.by_name:
        spec = catalogue.find("task", entry.task).spec
        task = open_task(
            catalogue,
            entry.task,
            ("train", "val"),
            root=roots.get(entry.task, entry.root),
            data_root=data_root,
            options=entry.options,
            augmentation=entry.profile(spec),
            image_size=mix.image_size,
            batch_size=entry.batch_size,
        )
        if entry.eval_cases and entry.eval_cases < len(task.cases["val"]):
            order = np.random.default_rng(seed_of("eval", entry.task))
            chosen = sorted(order.permutation(len(task.cases["val"]))[: entry.eval_cases])
            task.cases["val"] = [task.cases["val"][int(i)] for i in chosen]
        tasks[entry.task] = task
    return tasks


def choose_device(device: str | None) -> torch.device:
    """The device to run on.

    Raises:
        ConfigError: There is no such device here.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(name)
        torch.empty(1, device=target)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device '{name}' is not usable here; try --device cpu") from error
    return target


def default_workers(workers: int | None) -> int:
    """The number of loader processes: as given, or one less than the cores, at most 8."""
    return min(8, max(1, (os.cpu_count() or 2) - 1)) if workers is None else workers


def _evaluates_first(mix: Mix, state: dict[str, Any]) -> bool:
    step = state.get("step", 0)
    return step % mix.steps_per_epoch == 0 and not state.get("evaluated", False)


def _batches(
    mix: Mix,
    tasks: Mapping[str, TaskData],
    state: dict[str, Any],
    device: torch.device,
    workers: int,
    cache: Cache | None,
) -> Generator[Batch, None, None]:
    turns = [Turn(entry.task, entry.repeats, entry.weight) for entry in mix.tasks]
    stream = tickets(
        turns,
        start=state.get("step", 0) * sum(turn.repeats for turn in turns),
        steps=mix.epochs * mix.steps_per_epoch,
        steps_per_epoch=mix.steps_per_epoch,
        batches={name: task.batches("val") for name, task in tasks.items()},
        evaluate_first=_evaluates_first(mix, state),
    )
    instances = Instances(tasks, mix.seed, window=mix.window, cache=cache)
    loader = make_loader(instances, stream, workers, pin_memory=device.type == "cuda")
    for batch in loader:
        yield batch.to(device)


def _check_folder(folder: Path, mix: Mix, resume: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / "mix.yaml").is_file():
        raise ConfigError(f"--output {folder}: exists and is no run; choose another folder")
    if not resume:
        raise ConfigError(
            f"--output {folder}: the run exists; add --resume to go on with it, or choose another"
        )
    if different := Mix.load(folder / "mix.yaml").differences(mix):
        raise ConfigError(
            f"--resume: {folder} was started with another mix: {'; '.join(different)}; use the "
            "same mix, or a new --output"
        )


def _prepare_folder(
    folder: Path,
    mix: Mix,
    catalogue: Catalogue,
    model: Model,
    optimizer: torch.optim.Optimizer,
) -> dict[str, Any]:
    """Make the run's folder, or load what the latest checkpoint in it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mix.yaml").write_text(mix.dump())
    names = [entry.task for entry in mix.by_name]
    (folder / "environment.json").write_text(json.dumps(environment(catalogue, names), indent=1))
    state: dict[str, Any] = {}
    if found := list_checkpoints(folder / "checkpoints"):
        state = load_checkpoint(found[-1], model, optimizer)
    forget_after(folder, state.get("step", -1), evaluated=state.get("evaluated", False))
    return state


def environment(catalogue: Catalogue, tasks: Iterable[str]) -> dict[str, Any]:
    """What a run depends on beside its mix: versions, platform, threads, and whose data it is."""
    import albumentations
    import timm
    import torchvision

    libraries = (torch, torchvision, timm, albumentations, np)
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "libraries": {library.__name__: library.__version__ for library in libraries},
        "plugins": catalogue.versions,
        "sources": {
            name: catalogue.tasks[name].spec.source.model_dump(
                include={"homepage", "licence", "commercial", "citation"}
            )
            for name in tasks
        },
    }
