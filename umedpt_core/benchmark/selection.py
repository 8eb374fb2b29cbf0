"""Choosing a model, and what fine-tuning forgets (paper: Discussion, Supplementary 6)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..catalogue import Catalogue, load_catalogue
from ..data.visits import cache_for
from ..engine.checkpoint import write_whole
from ..engine.evaluate import evaluate
from ..engine.machine import choose_device, default_workers
from ..engine.model import load_model
from ..engine.pretrain import open_mix
from ..errors import ConfigError, DataError
from ..mix import Mix
from ..transfer.adapt import adapt
from ..transfer.loading import Loading
from ..transfer.settings import AdaptSettings

FILE = "selection.json"


def compare_selection(
    model: str,
    task: str,
    output: Path | str,
    *,
    settings: AdaptSettings | None = None,
    catalogue: Catalogue | None = None,
    data_root: Path | str | None = None,
    roots: Mapping[str, str] | None = None,
    device: str | None = None,
    workers: int | None = None,
    cache_gb: float = 8.0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare three ways of ending the training, and measure what it does to the model's own tasks.

    ``fixed`` trains on nine tenths of the training cases and keeps the last epoch, ``selected`` is
    the same training with the epoch that is best on the other tenth, ``all`` trains on all cases
    and keeps the last epoch, as in the paper's benchmark.

    Args:
        model: A run of ``pretrain``; or any MODEL, which then has no tasks of its own to forget.
        task: A registered task.
        output: A folder for both adaptations and ``selection.json``. Called again, it goes on.
        settings: Of the adaptations; `val` is not looked at.
        catalogue: The installed plugins; default: found now.
        data_root: A folder with one folder a plugin slug; default: ``UMEDPT_DATA``.
        roots: Task to the folder of its data, of any of the tasks.
        device: A torch device; default: the GPU where there is one.
        workers: Processes that load data.
        cache_gb: Disk space for loaded volumes, in GB, under ``UMEDPT_CACHE``.
        quiet: Show no progress.

    Returns:
        ``ways``: way to metrics on the test split; ``tasks``: task of pretraining to its metrics on
        held-out cases ``before`` and ``after`` the adaptation on all cases; ``unread``: tasks
        whose data is not here or cannot be used, with the reason.

    Raises:
        ConfigError: As :func:`umedpt_core.adapt`.
        DataError: As :func:`umedpt_core.adapt`.
        Interrupted: Stopped on request, everything saved.
        UmedptError: A failure while running.
    """
    folder, settings = Path(output), settings or AdaptSettings()
    catalogue, roots = catalogue or load_catalogue(), roots or {}
    where: dict[str, Any] = {"data_root": data_root, "device": device, "workers": workers}
    where |= {"cache_gb": cache_gb, "quiet": quiet, "catalogue": catalogue}
    reports = {}
    for name in ("val", "all"):
        chosen = settings.model_copy(update={"val": name == "val"})
        place = folder / name
        reports[name] = adapt(
            model, task, place, settings=chosen, root=roots.get(task), resume=True, **where
        )
    ways = {"fixed": reports["val"]["last"], "selected": reports["val"], "all": reports["all"]}
    found: dict[str, Any] = {
        "task": task,
        "model": model,
        **settings.model_dump(exclude={"val"}),
        "chosen": reports["val"]["chosen"],
        "steps": reports["all"]["steps"],
        "ways": {way: report["metrics"] for way, report in ways.items()},
        "tasks": {},
        "unread": {},
    }
    mix_file = Path(model) / "mix.yaml"
    if settings.mode != "frozen" and mix_file.is_file():
        found |= _forgetting(Path(model), folder / "all", **where, roots=roots)
    write_whole(folder / FILE, json.dumps(found, indent=1))
    return found


def _forgetting(
    run: Path,
    adapted: Path,
    *,
    catalogue: Catalogue,
    data_root: Path | str | None,
    roots: Mapping[str, str],
    device: str | None,
    workers: int | None,
    cache_gb: float,
    quiet: bool,
) -> dict[str, dict[str, Any]]:
    """The pretraining tasks' held-out metrics with the shared blocks before and after."""
    mix, target = Mix.load(run / "mix.yaml"), choose_device(device)
    before, after = (load_model(str(run), catalogue).to(target) for _ in range(2))
    own = load_model(str(adapted), catalogue).blocks.state_dict()
    after.blocks.load_state_dict(own, strict=False)  # decoders that the task has no use for stay
    models = {"before": before, "after": after}
    tasks: dict[str, Any] = {}
    unread: dict[str, str] = {}
    for entry in mix.by_name:
        one = mix.model_copy(update={"tasks": (entry,)})
        try:
            mine = {entry.task: roots[entry.task]} if entry.task in roots else {}
            (data,) = open_mix(one, catalogue, data_root, mine).values()
        except (ConfigError, DataError) as error:
            unread[entry.task] = str(error)
            continue
        with cache_for([data], cache_gb) as cache:
            loading = Loading(data, mix.seed, cache, default_workers(workers), target, _nothing)
            found = {name: evaluate(m, loading.evaluation("val")) for name, m in models.items()}
        if not all(found.values()):
            unread[entry.task] = "no held-out case can be used"
            continue
        tasks[entry.task] = {name: scores[entry.task] for name, scores in found.items()}
    return {"tasks": tasks, "unread": unread}


def _nothing(_: Any) -> None:
    """Skipped cases were reported in pretraining."""
