"""Pretraining: from a mix to a run folder with a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from timm.utils import ModelEmaV3
from torch import nn

from ..blocks.folding import match_biases
from ..catalogue import Catalogue, load_catalogue
from ..counters import seed_of
from ..data.tasks import TaskData, open_task
from ..data.visits import cache_for
from ..errors import ConfigError
from ..missing import missing_data
from ..mix import Mix
from ..use.sheet import prediction_sheet
from .checkpoint import (
    UNFINISHED,
    list_checkpoints,
    load_checkpoint,
    load_weights,
    start_from,
    write_whole,
    writing,
    written_whole,
)
from .distributed import join_ranks
from .events import Events, forget_after, open_loggers
from .machine import choose_device, default_workers, environment
from .model import Model, blocks_needed, build_blocks, save_model
from .optimizer import make_optimizer
from .progress import Progress
from .run import Run, Setting
from .stop import stopping_on_signals
from .stream import Stream
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
    init_from: Path | str | None = None,
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
        init_from: A run whose weights and optimizer state, by parameter name, a new run starts
            from.
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
    if resume and (folder / "model").is_dir():
        check_folder(folder, mix, resume)
        return folder
    with join_ranks() as ranks:
        if ranks.first:
            check_folder(folder, mix, resume)
        target = choose_device(device or ranks.device)
        tasks = open_mix(mix, catalogue, data_root, roots or {})
        model = build_model(mix, catalogue, tasks).to(target)
        model.bf16 = mix.wants_bf16(target.type)
        own, other = _starting_points(folder, init_from)
        if start := own or other:
            match_biases(model, load_weights(start))
        optimizer = make_optimizer(model, mix.optimizer)
        average = ModelEmaV3(model, mix.ema) if mix.ema else None
        models: dict[str, nn.Module] = {"model": model}
        if average:
            models["average"] = average.module
        state: dict[str, Any] = {}
        anew: list[str] = []
        if own:
            state = load_checkpoint(own, models, optimizer)
        elif other:
            anew = start_from(other, model, optimizer)
            if average:
                average.module.load_state_dict(model.state_dict())
        ranks.gather("loaded")
        if ranks.first:
            _prepare_folder(folder, mix, catalogue, init_from)
            forget_after(folder, state)
        ranks.same_start(model)
        if mix.compile:
            model.blocks.encoder.compile()
        stream = Stream(mix, tasks, state, ranks, model)
        with (
            cache_for(tasks.values(), cache_gb) as cache,
            closing(stream.batches(target, default_workers(workers), cache)) as batches,
            Progress(
                _headlines(tasks, catalogue),
                state.get("step", 0),
                mix.epochs * mix.steps_per_epoch,
                quiet=quiet or not ranks.first,
            ) as progress,
        ):
            if model.blocks.swap_report.replaced:
                progress.warn(f"norm {mix.norm}: {model.blocks.swap_report}")
            if mix.encoder.pretrained and not mix.optimizer.hold and not start:
                progress.warn(
                    "the encoder is pretrained and the heads start at random: they may spoil it; "
                    "optimizer.hold and optimizer.encoder_lr prevent that (docs/method.md)"
                )
            if anew:
                parts = sorted({".".join(name.split(".")[:2]) for name in anew})
                progress.warn(f"--init-from {init_from}: {', '.join(parts)} start anew")
            loggers = open_loggers(catalogue, folder, progress.warn) if ranks.first else []
            listeners = [progress, *loggers]
            events_folder = folder if ranks.first else None
            with closing(Events(events_folder, listeners, progress.warn)) as events:
                best = folder / "checkpoints" / "best"

                def keep_best() -> None:
                    if mix.select == "best" and ranks.first:
                        _save(best, run.kept_model, mix, tasks, catalogue)

                setting = Setting(
                    folder=folder,
                    mix=mix,
                    tasks=tasks,
                    evaluated=stream.evaluated,
                    batches=batches,
                    consumed=stream.consumed,
                    events=events,
                    progress=progress,
                    ranks=ranks,
                    keep_best=keep_best,
                )
                run = Run(setting, model, average, optimizer, state)
                with stopping_on_signals(run.stop, progress.warn):
                    if stream.evaluates_first:
                        run.evaluate_first()
                    if run.step < run.steps:
                        train(model, batches, optimizer, run)
                if cache and (again := cache.reloads()):
                    progress.warn(
                        f"{again} times a case was loaded again: the cache of {cache_gb:g} GB is "
                        f"too small for a window of {mix.window}; next time raise --cache-gb or "
                        "lower window"
                    )
                if ranks.first:
                    sheet = prediction_sheet(run.kept_model, tasks, "val")
                    with writing(folder / "predictions.png"):
                        sheet.save(folder / "predictions.png")
                    events.emit("pictures", step=run.step, epoch=run.epoch, path="predictions.png")
                run.end()
        if ranks.first:  # last: a run with a model is finished
            if mix.select == "best" and best.is_dir():
                with written_whole(folder / "model") as place:
                    shutil.copytree(best, place, dirs_exist_ok=True)
            else:
                _save(folder / "model", run.kept_model, mix, tasks, catalogue)
        ranks.gather("finished")
    return folder


def build_model(mix: Mix, catalogue: Catalogue, tasks: Mapping[str, TaskData]) -> Model:
    """The model of a mix before training: shared blocks and a head a task."""
    blocks = build_blocks(catalogue, blocks_needed(catalogue, tasks), mix.architecture, mix.seed)
    return Model(blocks, {name: task.label for name, task in tasks.items()}, mix.seed)


def open_mix(
    mix: Mix, catalogue: Catalogue, data_root: Path | str | None, roots: Mapping[str, str]
) -> dict[str, TaskData]:
    """Open the train and val splits of every task of a mix, in name order.

    Raises:
        ConfigError: Data is missing, all of which the message lists, or `roots` names a task that
            the mix has not.
        DataError: A task's data cannot be read.
    """
    if unknown := sorted(set(roots) - {entry.task for entry in mix.tasks}):
        raise ConfigError(f"--root names '{unknown[0]}', which is no task of the mix")
    folders = [
        (catalogue.find("task", entry.task), roots.get(entry.task, entry.root))
        for entry in mix.by_name
    ]
    if text := missing_data(folders, data_root):
        raise ConfigError(text)
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


def check_folder(folder: Path, mix: Mix, resume: bool) -> None:
    """Refuse a folder that is not this mix's run.

    Raises:
        ConfigError: It is something else, or a run that is not to be resumed.
    """
    if not folder.exists():
        return
    if folder.is_dir() and all(path.name.startswith(UNFINISHED) for path in folder.iterdir()):
        return  # empty, or killed before anything was there
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


def _headlines(tasks: Iterable[str], catalogue: Catalogue) -> dict[str, str]:
    label_types = {name: catalogue.tasks[name].spec.label_type for name in tasks}
    found = {n: catalogue.label_types[name].spec for n, name in label_types.items()}
    return {name: spec.metrics[0] for name, spec in found.items()}


def _save(
    place: Path, model: Model, mix: Mix, tasks: Mapping[str, TaskData], catalogue: Catalogue
) -> None:
    """Save a model whole or not at all."""
    instances = {name: task.instances for name, task in tasks.items()}
    with written_whole(place) as temporary:
        save_model(model, temporary, mix.architecture, instances, catalogue)


def _prepare_folder(
    folder: Path, mix: Mix, catalogue: Catalogue, init_from: Path | str | None
) -> None:
    facts = environment(catalogue, [entry.task for entry in mix.by_name])
    facts["init_from"] = None if init_from is None else str(init_from)
    write_whole(folder / "mix.yaml", mix.dump())
    write_whole(folder / "environment.json", json.dumps(facts, indent=1))


def _starting_points(folder: Path, init_from: Path | str | None) -> tuple[Path | None, Path | None]:
    """The run's own latest checkpoint, and that of the run to start from."""
    own = list_checkpoints(folder / "checkpoints")
    others = list_checkpoints(Path(init_from) / "checkpoints") if init_from is not None else []
    if init_from is not None and not others:
        raise ConfigError(f"--init-from {init_from}: no run with a checkpoint is there")
    return own[-1] if own else None, others[-1] if others else None
