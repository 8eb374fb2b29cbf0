"""What test_distributed.py starts: processes that train together, forked from this one.

``python ranks.py trial FOLDER`` needs no launcher; ``torchrun ranks.py fail FOLDER WORDS...`` is
`umedpt WORDS...` with a failure in its second process.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from umedpt_core import Mix, load_catalogue
from umedpt_core.cli import main
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.data.loader import Instances
from umedpt_core.engine import run as engine_run
from umedpt_core.engine.distributed import Ranks, batches_of, join_ranks, tasks_of
from umedpt_core.engine.model import Model
from umedpt_core.engine.optimizer import make_optimizer
from umedpt_core.engine.pretrain import build_model, open_mix
from umedpt_core.engine.schedule import Schedule, Turn
from umedpt_core.engine.stream import make_schedule
from umedpt_core.engine.train import train

PATIENCE = 60
"""Seconds after which a process is ended: nothing here may hang."""
STEPS = 3
TASKS = tuple(f"shapes-{x}" for x in ("classification", "detection", "multilabel", "segmentation"))
FAILED = ("shapes-detection", 1)
"""A task and a step whose batches are empty."""
OWNERS = {
    1: dict.fromkeys(TASKS, 0),
    2: dict(zip(TASKS, (0, 1, 0, 0), strict=True)),  # in step 1 the second has nothing but FAILED
    4: dict(zip(TASKS, (0, 2, 0, 1), strict=True)),  # the last has no task at all
}
SETTINGS = """
encoder: {name: mobilenetv3_small_050}
decoders: {pixels: 8, pyramid: 8}
epochs: 2
steps_per_epoch: 3
log_every: 2
image_size: 32
tasks:
  - {task: shapes-segmentation, batch_size: 2, options: {cases: 20}}
  - {task: shapes-detection, batch_size: 2, options: {cases: 20}, repeats: 2}
  - {task: shapes-multilabel, batch_size: 2, options: {cases: 20}, weight: 0.5}
  - {task: shapes-classification, batch_size: 2, options: {cases: 20}}
"""


def fork(world: int, function: Callable[[int], object], log: Path) -> list[int]:
    """Run a function in processes that find each other as torchrun's do, and wait for them.

    Returns:
        Their exit codes, in the order of ranks; a signal's number is negative.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sys.stdout.flush()
    children = []
    for rank in range(world):
        if child := os.fork():
            children.append(child)
            continue
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        place = where | {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world}
        os.environ.update({key: str(value) for key, value in place.items()})
        with Path(f"{log}-{rank}").open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.setsid()
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        code: Any = 1
        try:
            function(rank)
            code = 0
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


class Trace:
    """Stands for a run: notes the gradients before each update, and ends after STEPS."""

    seed = 0

    def __init__(self, model: Model, ranks: Ranks) -> None:
        self.model, self.ranks = model, ranks
        self.gradients: list[Tensor] = []
        self.unset: list[list[str]] = []

    def record(self, batch: Batch, loss: Tensor | None) -> None:
        pass

    def before_update(self) -> None:
        assert self.ranks.sum_gradients(self.model, 0) == 0
        grads = {n: p.grad for n, p in self.model.named_parameters()}
        self.unset.append(sorted({n.split(".")[1] for n, g in grads.items()
                                  if g is None and n.startswith("heads.")}))  # fmt: skip
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.model.parameters()]
        self.gradients.append(flat(parts))

    def end_step(self) -> bool:
        return len(self.gradients) == STEPS


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().double().reshape(-1) for tensor in tensors])


def error(found: Tensor, expected: Tensor) -> float:
    """Relative error by norm."""
    return float((found - expected).norm() / expected.norm())


class Trial:
    """Three steps of real tasks, by any number of processes, in one precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.catalogue = load_catalogue()
        self.mix = Mix.load(os.environ["MIX"], ["encoder.name=resnet10t"])
        self.tasks = open_mix(self.mix, self.catalogue, None, {})
        self.schedule = make_schedule(self.mix, self.tasks)
        doubled = [Turn(t.task, 2 * t.repeats, t.weight) for t in self.schedule.turns]
        self.doubled = Schedule(doubled)
        instances = Instances(self.tasks, self.mix.seed)
        tickets = [ticket for step in range(STEPS) for ticket in self.doubled.step(step)]
        self.batches = {(t.task, t.number): instances[t].to("cpu") for t in tickets}
        self.expected = self.run(Ranks(), self.shared(Ranks(), OWNERS[1]))
        self.expected_doubled = self.run(Ranks(), self.steps(self.doubled))

    def steps(self, schedule: Schedule) -> Iterator[Ticket]:
        for step in range(STEPS):
            yield from schedule.step(step)

    def shared(self, ranks: Ranks, owner: dict[str, int]) -> list[Ticket]:
        """This process's tickets, in another order in each."""
        mine: list[Ticket] = []
        for number in range(STEPS):
            step = list(tasks_of([self.schedule.step(number)], ranks, owner))
            turn = ranks.rank + ranks.world - 1
            order = [*step[turn % len(step) :], *step[: turn % len(step)]]
            mine += [t._replace(ends_step=t is order[-1]) for t in order]
        return mine

    def own(self, ranks: Ranks) -> Iterator[Ticket]:
        """This process's own batch of every ticket."""
        steps = [self.schedule.step(step) for step in range(STEPS)]
        none = dict.fromkeys(TASKS, 0)
        return batches_of(steps, ranks, OWNERS[1], none, none)

    def run(self, ranks: Ranks, tickets: Iterator[Ticket] | list[Ticket]) -> tuple[Trace, Tensor]:
        model = build_model(self.mix, self.catalogue, self.tasks).to(self.dtype)
        model.heads["unused"] = nn.Linear(3, 3).to(self.dtype)
        with torch.no_grad():
            for parameter in model.parameters():  # the first process's count
                parameter += ranks.rank
        ranks.same_start(model)
        trace = Trace(model, ranks)
        optimizer = make_optimizer(model, self.mix.optimizer)
        train(model, map(self.batch, tickets), optimizer, trace)
        unused = model.heads["unused"].weight
        assert unused.grad is None
        assert unused not in optimizer.state  # so neither moved nor decayed
        return trace, flat(list(model.parameters()))

    def batch(self, ticket: Ticket) -> Batch:
        if not ticket.task or (ticket.task, ticket.step) == FAILED:
            return Batch(ticket, torch.empty(0, 3, 32, 32), None)
        found = self.batches[ticket.task, ticket.number]
        target = to_dtype(found.target, self.dtype)
        return Batch(ticket, found.x_BCHW.to(self.dtype), target, found.ids)

    def compare(self, file: Path, *, own: bool) -> None:
        """Train in this group of processes and write how far that is from one process."""
        with join_ranks() as ranks:
            tickets = self.own(ranks) if own else self.shared(ranks, OWNERS[ranks.world])
            trace, weights = self.run(ranks, tickets)
            expected, expected_weights = self.expected_doubled if own else self.expected
            digests = ranks.gather(sha256(weights.numpy().tobytes()).hexdigest())
            result = {
                "gradients": list(map(error, trace.gradients, expected.gradients)),
                "weights": error(weights, expected_weights),
                "copies": len(set(digests)),
                "unset": trace.unset,
                "unset_alone": expected.unset,
            }
            if ranks.first:
                file.write_text(json.dumps(result))


def to_dtype(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: to_dtype(item, dtype) for key, item in value.items()}
    return [to_dtype(item, dtype) for item in value] if isinstance(value, list) else value


def command(words: Sequence[str], hook: Callable[[Batch], None]) -> None:
    """`umedpt WORDS...`; the hook sees every training batch."""
    record = engine_run.Run.record

    def noted(self: engine_run.Run, batch: Batch, loss: Tensor | None) -> None:
        hook(batch)
        record(self, batch, loss)

    engine_run.Run.record = noted  # type: ignore[method-assign]
    sys.argv = ["umedpt", *words]
    main()


def sequence(folder: Path) -> list[list[int]]:
    """A run at 2 processes, stopped; gone on with at 3, stopped; ended by one."""
    codes = []
    for world, stopped, at in ((2, 1, 1), (3, 0, 3), (1, None, None)):

        def process(rank: int, world=world, stopped=stopped, at=at) -> None:
            notes = (folder / f"tickets-{world}-{rank}").open("w")

            def note(batch: Batch) -> None:
                ticket = batch.ticket
                print(json.dumps([ticket.step, ticket.task, ticket.number]), file=notes, flush=True)
                if rank == stopped and ticket.step == at and ticket.task == TASKS[0]:
                    os.killpg(0, signal.SIGTERM)  # and the loader's, as torchrun does

            workers = str(world % 2)  # a resumed run does not depend on them
            words = ("pretrain", os.environ["MIX"], "--output", str(folder / "run"), "--resume",
                     "--set", "share=batches", "--workers", workers)  # fmt: skip
            command(words, note)

        codes.append(fork(world, process, folder / f"log-{world}"))
    return codes


def trial(folder: Path) -> None:
    torch.set_num_threads(1)
    codes = {}
    for dtype in (torch.float32, torch.float64):
        made = Trial(dtype)
        for world, own in ((2, False), (4, False), (2, True)):
            name = f"{str(dtype).removeprefix('torch.')}-{world}" + "-own" * own
            file = folder / f"{name}.json"
            codes[name] = fork(
                world, lambda _, m=made, f=file, o=own: m.compare(f, own=o), folder / f"log-{name}"
            )
    codes["sequence"] = sequence(folder)
    (folder / "codes.json").write_text(json.dumps(codes))


def fail(folder: Path, words: Sequence[str]) -> None:
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    rank = os.environ["RANK"]

    def note(batch: Batch) -> None:
        if first and rank == "1" and batch.ticket.step == 4:
            (folder / "failed").touch()
            raise RuntimeError("on purpose")

    command(words, note)


if __name__ == "__main__":
    if sys.argv[1] == "trial":
        trial(Path(sys.argv[2]))
    else:
        fail(Path(sys.argv[2]), sys.argv[3:])
