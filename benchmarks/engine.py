"""The engine's own cost: an optimizer step of `engine.train` against a bare loop.

Both run the same modules on the same batches, preloaded, with the same optimizer: the four shapes
tasks, a small encoder, one thread, so that a step is short and what surrounds it shows. The engine
also seeds every batch, collects the losses, writes events and feeds the (silent) progress display;
it neither evaluates nor saves here. The two take turns of ten steps, so that a noisy machine
disturbs both; the ratio is the median over pairs of turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import torch

from umedpt_core import Mix, load_catalogue
from umedpt_core.data.batch import Batch
from umedpt_core.data.loader import Instances
from umedpt_core.engine.distributed import Ranks
from umedpt_core.engine.events import Events, read_events
from umedpt_core.engine.model import Model
from umedpt_core.engine.optimizer import make_optimizer
from umedpt_core.engine.pretrain import build_model, open_mix
from umedpt_core.engine.progress import Progress
from umedpt_core.engine.run import Run, Setting
from umedpt_core.engine.stream import make_schedule
from umedpt_core.engine.train import train

TURN = 10
"""Steps a turn; also the steps between two logged rows, so every turn logs once."""
LOADED = 5
"""Steps whose batches are preloaded; a turn goes through them twice."""
BATCH = 4
SETTINGS = {
    "encoder.name": "mobilenetv3_small_050",
    "decoders.pixels": 16,
    "decoders.pyramid": 32,
    "log_every": TURN,
    "steps_per_epoch": 10**9,
}


def bare(model: Model, batches: Sequence[Batch], optimizer: torch.optim.Optimizer) -> None:
    """The loop without anything around it."""
    for batch in batches:
        model.loss(batch).backward()  # type: ignore[no-untyped-call]
        if batch.ticket.ends_step:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def timed(function: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor seconds of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 pairs of turns in place of 20")
    pairs = 4 if parser.parse_args().quick else 20
    torch.set_num_threads(1)
    catalogue = load_catalogue()
    settings = [f"{key}={value}" for key, value in SETTINGS.items()]
    settings += [f"tasks.{name}.batch_size={BATCH}" for name in catalogue.select(["suite:shapes"])]
    mix = Mix.compose(catalogue, ["suite:shapes"], settings=settings)
    tasks = open_mix(mix, catalogue, None, {})
    model = build_model(mix, catalogue, tasks)
    optimizer = make_optimizer(model, mix.optimizer)
    instances = Instances(tasks, mix.seed)
    schedule = make_schedule(mix, tasks)
    tickets = [ticket for step in range(LOADED) for ticket in schedule.step(step)]
    batches = [instances[ticket].to("cpu") for ticket in tickets]
    batches *= TURN // LOADED
    with TemporaryDirectory() as name:
        folder = Path(name)
        progress = Progress(dict.fromkeys(tasks, "loss"), 0, 10**9, quiet=True)
        events = Events(folder, [progress], progress.warn)
        setting = Setting(
            folder=folder,
            mix=mix,
            tasks=tasks,
            evaluated=frozenset(tasks),
            batches=iter(()),
            consumed=lambda step: {},
            events=events,
            progress=progress,
            ranks=Ranks(),
            keep_best=lambda: None,
        )
        run = Run(setting, model, None, optimizer, {})
        ways = {
            "engine": lambda: train(model, batches, optimizer, run),
            "bare": lambda: bare(model, batches, optimizer),
        }
        model.train()
        for way in ways.values():  # warm up
            way()
        took: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for pair in range(pairs):
            for way in list(ways) if pair % 2 else reversed(ways):
                took[way].append(timed(ways[way]))
        events.close()
        logged = len(read_events(folder))
    wall, processor = (
        [e[i] / b[i] for e, b in zip(took["engine"], took["bare"], strict=True)] for i in (0, 1)
    )
    for way, values in took.items():
        print(f"{way:6} {1000 * median(v[0] for v in values) / TURN:7.2f} ms a step")
    low, _, high = quantiles(wall, n=4)
    print(
        f"ratio: wall {median(wall):.3f} (quartiles {low:.3f} to {high:.3f}, {pairs} pairs), "
        f"processor {median(processor):.3f}"
    )
    print(
        f"engine: a step of {len(tasks)} tasks, {logged} events written meanwhile, takes "
        f"{median(wall):.3f} times the bare loop's (aim: at most 1.05)"
    )


if __name__ == "__main__":
    main()
