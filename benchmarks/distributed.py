"""The sum of gradients: the engine's, once a step, against torch's DistributedDataParallel.

Two gloo processes on this machine, one thread each, share out the four shapes tasks. Both ways run
the same batches, preloaded, and accumulate over a process's tasks. "ours" is `engine.train`, which
sums in buckets before the update. "DDP" wraps the model, with `no_sync` for all batches but a
process's last and `find_unused_parameters=True`, without which it is wrong; it sums while the last
backward pass goes on. They take turns of five steps; the ratio is the median over pairs of turns.
"""

from __future__ import annotations

import argparse
import os
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median, quantiles

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from umedpt_core import Mix, load_catalogue
from umedpt_core.data.batch import Batch
from umedpt_core.data.loader import Instances
from umedpt_core.engine.distributed import Ranks, join_ranks, tasks_of
from umedpt_core.engine.model import Model
from umedpt_core.engine.optimizer import make_optimizer
from umedpt_core.engine.pretrain import build_model, open_mix
from umedpt_core.engine.stream import make_schedule
from umedpt_core.engine.train import train

WORLD, TURN, BATCH = 2, 5, 2


class Loop:
    """What `train` asks of a run: an update a step, and an end after a turn."""

    seed = 0

    def __init__(self, update: Callable[[], object]) -> None:
        self.before_update = update
        self.left = TURN

    def record(self, batch: Batch, loss: Tensor | None) -> None:
        """Nothing is logged."""

    def end_step(self) -> bool:
        """Whether the turn is over."""
        self.left -= 1
        return self.left == 0


class Loss(nn.Module):
    """A model whose call is its loss, as DDP wants it."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        return self.model.loss(batch)


def work(ranks: Ranks, encoder: str, size: int, pairs: int) -> None:
    """Measure in this process; the first one prints."""
    torch.set_num_threads(1)
    catalogue = load_catalogue()
    settings = [f"encoder.name={encoder}", f"image_size={size}"]
    settings += [f"tasks.{name}.batch_size={BATCH}" for name in catalogue.select(["suite:shapes"])]
    mix = Mix.compose(catalogue, ["suite:shapes"], settings=settings)
    tasks = open_mix(mix, catalogue, None, {})
    models = {way: build_model(mix, catalogue, tasks) for way in ("ours", "DDP")}
    optimizers = {way: make_optimizer(model, mix.optimizer) for way, model in models.items()}
    with ranks.visible():
        wrapped = DistributedDataParallel(Loss(models["DDP"]), find_unused_parameters=True)
    owner = {name: place % ranks.world for place, name in enumerate(sorted(tasks))}
    instances = Instances(tasks, mix.seed)
    steps = map(make_schedule(mix, tasks).step, range(TURN))
    batches = [instances[ticket].to("cpu") for ticket in tasks_of(steps, ranks, owner)]

    def ours() -> None:
        run = Loop(lambda: ranks.sum_gradients(models["ours"], 0))
        train(models["ours"], batches, optimizers["ours"], run)  # type: ignore[arg-type]

    def ddp() -> None:
        for batch in batches:
            last = batch.ticket.ends_step
            with ranks.visible(), nullcontext() if last else wrapped.no_sync():
                # DDP takes the mean over processes, the method the sum.
                (ranks.world * batch.ticket.weight * wrapped(batch)).backward()
            if last:
                optimizers["DDP"].step()
                optimizers["DDP"].zero_grad(set_to_none=True)

    ways = {"ours": ours, "DDP": ddp}
    took: dict[str, list[float]] = {way: [] for way in ways}
    for pair in range(-1, pairs):  # the first one warms up
        for way in list(ways) if pair % 2 else reversed(ways):
            ranks.gather("ready")
            started = time.perf_counter()
            ways[way]()
            ranks.gather("done")
            if pair >= 0:
                took[way].append((time.perf_counter() - started) / TURN)
    gap = max(
        float((a - b).detach().abs().max())
        for a, b in zip(models["ours"].parameters(), models["DDP"].parameters(), strict=True)
    )
    if ranks.first:
        count = sum(parameter.numel() for parameter in models["ours"].parameters())
        print(f"{encoder}, {size} px, {count / 1e6:.1f} M parameters, {WORLD} gloo processes")
        for way, times in took.items():
            print(f"{way:5} {1000 * median(times):7.1f} ms a step")
        ratios = [a / b for a, b in zip(took["ours"], took["DDP"], strict=True)]
        low, _, high = quantiles(ratios, n=4)
        print(
            f"ours / DDP: {median(ratios):.3f} (quartiles {low:.3f} to {high:.3f}, {pairs} pairs); "
            f"largest difference of a weight {gap:.1e}"
        )


def main() -> None:
    """Start the processes, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 pairs of turns in place of 12")
    parser.add_argument("--encoder", default="mobilenetv3_small_050")
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(WORLD)}
    child = os.fork()
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = "1" if child == 0 else "0"
    with join_ranks() as ranks:
        work(ranks, arguments.encoder, arguments.size, 4 if arguments.quick else 12)
    if child:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
