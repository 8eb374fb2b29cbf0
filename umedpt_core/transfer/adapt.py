"""Bringing a model to one task (paper: Clinical validation)."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

from ..catalogue import Catalogue, load_catalogue
from ..counters import seed_of
from ..data.batch import Batch
from ..data.splits import VAL_FROM_TRAIN, split_by_patient
from ..data.tasks import TaskData, open_task
from ..data.visits import cache_for
from ..engine.checkpoint import UNFINISHED, write_whole, writing, written_whole
from ..engine.events import FILE as EVENTS
from ..engine.events import Events, open_loggers
from ..engine.machine import choose_device, default_workers, environment
from ..engine.model import Model, blocks_needed, load_blocks, save_model
from ..engine.progress import Progress
from ..engine.stop import Stop, stopping_on_signals
from ..errors import ConfigError, DataError
from ..mixdata import differences
from ..specs import LabelTypeSpec, TaskSpec
from ..use.sheet import prediction_sheet
from .cases import chosen_cases
from .features import fingerprint
from .loading import Loading
from .settings import AdaptSettings
from .stages import CHECKPOINTS, Stages

RESULT, ASKED = "metrics.json", "settings.json"
PICTURES, MODEL, VERSIONS = "predictions.png", "model", "environment.json"
UNDONE = {ASKED, EVENTS, "tensorboard", PICTURES, MODEL, VERSIONS}
"""What an adaptation that ended early leaves, where it took no checkpoint."""


def adapt(
    model: str,
    task: str,
    output: Path | str,
    *,
    settings: AdaptSettings | None = None,
    subset: Collection[str] | None = None,
    features: Path | None = None,
    keep_model: bool = True,
    resume: bool = False,
    catalogue: Catalogue | None = None,
    options: dict[str, Any] | None = None,
    data_root: Path | str | None = None,
    root: Path | str | None = None,
    device: str | None = None,
    workers: int | None = None,
    cache_gb: float = 8.0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train a task's head, and as the mode says the shared blocks, then score on the test split.

    The head is one linear layer, or one convolution for dense predictions. First it trains on fixed
    shared blocks, on images as they are, so that the blocks' outputs are computed only once. Every
    mode but ``frozen`` goes on from there, on augmented images.

    Args:
        model: A run, a saved model, ``timm:NAME[@weights file]`` or ``random:NAME``.
        task: A registered task.
        output: A new folder for ``metrics.json``, ``metrics.jsonl``, ``model/`` and
            ``predictions.png``.
        settings: Mode, epochs, rates and the like.
        subset: Ids of the training cases to use; None: all. As in the paper all of them train, and
            none is set aside for validation, unless `settings.val` asks for it.
        features: A folder where the outputs of the fixed blocks are kept, for further calls with
            the same model, data and image size.
        keep_model: Write ``model/`` and ``predictions.png``, and tell the loggers.
        resume: Go on from a checkpoint in `output`, if there is one; a finished one stays as it is.
        catalogue: The installed plugins; default: found now.
        options: The task's options.
        data_root: A folder with one folder a plugin slug; default: ``UMEDPT_DATA``.
        root: The folder of the task's data.
        device: A torch device; default: the GPU where there is one.
        workers: Processes that load data.
        cache_gb: Disk space for loaded volumes, in GB, under ``UMEDPT_CACHE``.
        quiet: Show no progress.

    Returns:
        What ``metrics.json`` holds: task, split, n, metrics, their confidence intervals, and how
        they came about. With `settings.val` the metrics are those of the chosen epoch, and
        ``last`` has those of the last one.

    Raises:
        ConfigError: Model, task, data root or output folder are not right.
        DataError: The task's data cannot be read.
        Interrupted: Stopped on request, everything saved.
        UmedptError: A failure while running.
    """
    started = time.monotonic()
    folder, settings = Path(output), settings or AdaptSettings()
    cases = None if subset is None else sorted(subset)
    asked = {"model": model, "task": task, **settings.model_dump(), "options": options}
    asked["cases"] = cases if cases is None else seed_of(*cases)
    _check_folder(folder, resume, asked)
    if (folder / RESULT).is_file():
        finished: dict[str, Any] = json.loads((folder / RESULT).read_text())
        return finished
    catalogue = catalogue or load_catalogue()
    spec: TaskSpec = catalogue.find("task", task).spec
    label_type: LabelTypeSpec = catalogue.find("label type", spec.label_type).spec
    target = choose_device(device)
    data = open_splits(
        catalogue,
        spec,
        settings,
        subset,
        keep_all=features is not None,
        root=root,
        data_root=data_root,
        options=options,
    )
    with (
        cache_for([data], cache_gb) as cache,
        Progress({task: label_type.metrics[0]}, 0, settings.epochs, quiet=quiet) as progress,
    ):
        needs = blocks_needed(catalogue, [task])
        blocks, architecture = load_blocks(
            model, catalogue, needs, seed=settings.seed, warn=progress.warn
        )
        adapted = Model(blocks, {task: data.label}, settings.seed).to(target).eval()
        blocks.requires_grad_(False)
        write_whole(folder / ASKED, json.dumps(asked, indent=1))
        loggers = open_loggers(catalogue, folder, progress.warn) if keep_model else []
        with closing(Events(folder, [progress, *loggers], progress.warn)) as events:
            skipped: dict[str, str] = {}

            def note(batch: Batch) -> None:
                for skip in batch.skips:
                    if skip.fatal and skip.case not in skipped:
                        skipped[skip.case] = skip.reason
                        row = {"step": 0, "epoch": 0, "split": batch.ticket.split, "task": task}
                        events.emit("skip", **row, case=skip.case, reason=skip.reason)

            loading = Loading(data, settings.seed, cache, default_workers(workers), target, note)
            stages = Stages(adapted, loading, settings, folder, events, progress, Stop())
            stores: dict[str, Path] = {}
            if features:
                facts = spec.model_dump(mode="json"), options, root, data_root, settings.image_size
                for split in ("all", "test"):
                    ids = [case.id for case in data.cases[split]]
                    name = fingerprint(blocks, data.batch_size, split, ids, *facts)
                    stores[split] = features / f"{name}.safetensors"
            with stopping_on_signals(stages.stop, progress.warn):
                chosen, results = stages.run(stores.get("all"), stores.get("test"))
            step = {"step": stages.step, "epoch": stages.step}
            scores = {"n": results["n"], **results["metrics"]}
            events.emit("eval", **step, split="test", task=task, **scores)
            if keep_model:
                with writing(folder / PICTURES):
                    prediction_sheet(chosen, {task: data}, "test").save(folder / PICTURES)
                events.emit("pictures", **step, path=PICTURES)
                with written_whole(folder / MODEL) as place:
                    kept = {task: data.instances}
                    save_model(chosen, place, architecture, kept, catalogue)
    report = {
        "task": task,
        "label_type": spec.label_type,
        "split": "test",
        **results,
        "skipped": len(skipped),
        "model": model,
        "train_cases": len(data.cases["train"]) + len(data.cases.get("val", ())),
        "steps": stages.step,
        "seconds": round(time.monotonic() - started, 2),
        **settings.model_dump(),
    }
    here = environment(catalogue, [task])
    write_whole(folder / VERSIONS, json.dumps(here, indent=1))
    write_whole(folder / RESULT, json.dumps(report, indent=1))  # last: it says that all is there
    return report


def open_splits(
    catalogue: Catalogue,
    spec: TaskSpec,
    settings: AdaptSettings,
    subset: Collection[str] | None,
    *,
    keep_all: bool,
    **where: Any,
) -> TaskData:
    """Open the task with the splits that :class:`.stages.Stages` asks for.

    Args:
        catalogue: The installed plugins.
        spec: The task.
        settings: Its batch size, image size and augmentation, and whether a share is held out.
        subset: Ids of the training cases to use; None: all.
        keep_all: Whether ``all`` is all training cases, so that other subsets find theirs.
        where: The task's data; see :func:`umedpt_core.data.tasks.open_task`.

    Raises:
        ConfigError: A data root is missing, or `subset` names no training case.
        DataError: The data cannot be read, or too little is left to hold a share out.
    """
    published_val = "val" in spec.splits
    profile = settings.augmentation or ("none" if settings.mode == "frozen" else spec.augmentation)
    data = open_task(
        catalogue,
        spec.name,
        ("train", "val", "test") if settings.val or not published_val else ("train", "test"),
        augmentation=None if profile == "none" else profile,
        image_size=settings.image_size,
        batch_size=settings.batch_size,
        **where,
    )
    every = list(data.cases["train"]) + ([] if published_val else list(data.cases["val"]))
    chosen = chosen_cases(every, subset)
    if not chosen:
        raise ConfigError(f"{spec.name}: the draw holds no case")
    if settings.val and not published_val:
        shares = split_by_patient(chosen, VAL_FROM_TRAIN)
        if not shares["train"]:
            raise DataError(
                f"{spec.name}: the {len(chosen)} training cases are of one patient, so none can be "
                "held out; leave out --val, or give more cases"
            )
        data.cases.update(shares)
    else:
        data.cases["train"] = chosen
    if not settings.val:
        data.cases.pop("val", None)
    data.cases["all"] = every if keep_all else chosen
    if settings.val and published_val:
        data.cases["all"] = [*data.cases["all"], *data.cases["val"]]
    return data


def _check_folder(folder: Path, resume: bool, asked: dict[str, Any]) -> None:
    """Refuse a folder that holds something else.

    Raises:
        ConfigError: It is not empty, and not what this call can go on with.
    """
    if not folder.exists():
        return
    inside = folder.iterdir() if folder.is_dir() else [folder]
    names = {path.name for path in inside if not path.name.startswith(UNFINISHED)}
    if not names & {CHECKPOINTS, RESULT}:
        if names and not {ASKED} <= names <= UNDONE:
            raise ConfigError(f"--output {folder}: exists and is not empty; choose another folder")
        (folder / EVENTS).unlink(missing_ok=True)
        return
    if not resume:
        raise ConfigError(
            f"--output {folder}: is not empty; add --resume to go on, or choose another folder"
        )
    before = json.loads((folder / ASKED).read_text()) if (folder / ASKED).is_file() else {}
    if different := list(differences(before, asked)):
        raise ConfigError(
            f"--resume: {folder} was started otherwise: {'; '.join(different)}; ask for the same, "
            "or choose another --output"
        )
