"""A dry run: one real batch of every task, then what the whole run would take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..catalogue import Catalogue
from ..data.tasks import TaskData
from ..mix import Mix
from .machine import choose_device, default_workers
from .measure import Computed, compute, load
from .pretrain import build_model, open_mix
from .stream import make_schedule


@dataclass(frozen=True)
class Cost:
    """What a training batch of a task takes.

    Attributes:
        loading: Seconds to load it in one process.
        computed: Forward and backward; None where no case of the batch can be used.
        reason: Why not.
    """

    loading: float
    computed: Computed | None
    reason: str = ""

    @property
    def computing(self) -> float:
        """Seconds forward and backward."""
        return self.computed.seconds if self.computed else 0.0


class DryRun:
    """A mix that is tried out, not trained; nothing is written.

    Args:
        mix: See :func:`umedpt_core.pretrain`, as for the other arguments.
        catalogue: The installed plugins.
        data_root: A folder with one folder a plugin slug.
        roots: Task to the folder of its data.
        device: A torch device.
        workers: Processes that would load data.
        cache_gb: Disk space for loaded volumes.

    Raises:
        ConfigError: Mix, plugins or data roots are not right.
        DataError: A task's data cannot be read.
    """

    def __init__(
        self,
        mix: Mix,
        catalogue: Catalogue,
        data_root: Path | str | None,
        roots: Mapping[str, str],
        device: str | None,
        workers: int | None,
        cache_gb: float,
    ) -> None:
        mix.check(catalogue)
        self.mix = mix
        target = choose_device(device)
        self.tasks: dict[str, TaskData] = open_mix(mix, catalogue, data_root, roots)
        self.model = build_model(mix, catalogue, self.tasks).to(target)
        self.model.bf16 = mix.wants_bf16(target.type)
        self.cache_gb = cache_gb
        self.workers = max(1, default_workers(workers))
        self.costs: dict[str, Cost] = {}

    def measure(self) -> Iterator[tuple[str, Cost]]:
        """Try out one task after the other."""
        for name, task in self.tasks.items():
            batch, loading = load(task, self.mix.seed, self.mix.window, self.cache_gb)
            computed = compute(self.model, batch) if len(batch) else None
            reason = batch.skips[0].reason if batch.skips else ""
            self.costs[name] = Cost(loading, computed, reason)
            yield name, self.costs[name]

    @property
    def training(self) -> tuple[float, float]:
        """Seconds that all training steps compute, and that all workers load, once measured."""
        steps = self.mix.epochs * self.mix.steps_per_epoch
        batches = make_schedule(self.mix, self.tasks).before(steps)
        computing = sum(n * self.costs[task].computing for task, n in batches.items())
        loading = sum(n * self.costs[task].loading for task, n in batches.items())
        return computing, loading / self.workers

    @property
    def evaluating(self) -> float:
        """Seconds that all evaluations compute; a forward pass takes a third of a batch's time."""
        rounds = self.mix.epochs + 1
        each = {name: task.batches("val") for name, task in self.tasks.items()}
        return rounds * sum(n * self.costs[task].computing / 3 for task, n in each.items())
