"""Loading 17 tasks: one loader with 2 workers for all, against one DataLoader a task with 2 each.

The tasks are copies of the shapes tasks under 17 names; both ways draw, augment and collate the
same batches, one of each task in turn, and nothing consumes them but a counter. Processes are the
children of this one; memory is the proportional set size (PSS) of all of them and this one, and the
workers' private part of it (USS), from smaps_rollup once the loaders are warm. Images/s exclude the
start and what was prefetched during it; on a machine that others use, 34 processes get a larger
share of it than 2, so the images a processor second of the workers stand beside them. The two ways
alternate; figures are medians.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Any

from umedpt_core import load_catalogue
from umedpt_core.data.batch import Batch
from umedpt_core.data.loader import Instances, make_loader
from umedpt_core.data.tasks import TaskData, open_task
from umedpt_core.engine.schedule import Schedule, Turn

TASKS, WORKERS, BATCH, SEED = 17, 2, 8, 0


def shared(tasks: Mapping[str, TaskData]) -> Iterator[Batch]:
    """Ours: one loader for all, driven by the schedule."""
    schedule = Schedule([Turn(name) for name in tasks])
    tickets = (ticket for step in count() for ticket in schedule.step(step))
    yield from make_loader(Instances(tasks, SEED), tickets, WORKERS)


def separate(tasks: Mapping[str, TaskData]) -> Iterator[Batch]:
    """The usual way: a loader a task, asked in turn."""
    loaders = [iter(shared({name: task})) for name, task in tasks.items()]
    while True:
        yield from map(next, loaders)


def children() -> list[int]:
    """The processes whose parent is this one."""
    pids = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:  # gone meanwhile
            continue
        if parent == os.getpid():
            pids.append(int(status.parent.name))
    return pids


def memory(pid: int) -> tuple[float, float]:
    """PSS and USS of a process in MiB."""
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    kib = {line[0]: int(line[1]) for line in lines if line[-1] == "kB"}
    return kib["Pss:"] / 1024, (kib["Private_Clean:"] + kib["Private_Dirty:"]) / 1024


def processor_seconds(pids: list[int]) -> float:
    """What processes have used of the processor so far."""
    fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")


def measure(batches: Iterator[Batch], rounds: int) -> dict[str, float]:
    """Start a way of loading, warm it up, measure it, end it."""
    started = time.perf_counter()
    next(batches)
    first = time.perf_counter() - started
    # More than both ways prefetch, so that what is counted is made while it is counted.
    for _ in islice(batches, TASKS * 12):
        pass
    workers = children()
    started, used = time.perf_counter(), processor_seconds(workers)
    images = sum(map(len, islice(batches, TASKS * rounds)))
    elapsed, used = time.perf_counter() - started, processor_seconds(workers) - used
    sizes = [memory(pid) for pid in workers]
    return {
        "processes": len(workers),
        "PSS MiB": memory(os.getpid())[0] + sum(pss for pss, _ in sizes),
        "USS MiB": sum(uss for _, uss in sizes),
        "images/s": images / elapsed,
        "images a processor second": images / used,
        "first batch s": first,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short repeat in place of three")
    quick = parser.parse_args().quick
    catalogue = load_catalogue()
    names = catalogue.select(["suite:shapes"])
    opened = [
        open_task(catalogue, name, ["train"], augmentation="weak", batch_size=BATCH)
        for name in names
    ]
    copies = (replace(opened[n % len(opened)], name=f"task{n:02}") for n in range(TASKS))
    tasks = {task.name: task for task in copies}
    ways: dict[str, Any] = {"shared": shared, "separate": separate}
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(1 if quick else 3):
        for way, start in ways.items():
            batches = start(tasks)
            rows[way].append(measure(batches, 6 if quick else 20))
            batches.close()
            del batches  # ends the workers
            while children():
                time.sleep(0.1)
    result = {
        way: {key: median(row[key] for row in found) for key in found[0]}
        for way, found in rows.items()
    }
    for way, values in result.items():
        print(f"{way:8}", "  ".join(f"{key} {value:.6g}" for key, value in values.items()))
    ours, theirs = result["shared"], result["separate"]
    print(
        f"loader: {TASKS} tasks take {ours['processes']:.0f} processes in place of "
        f"{theirs['processes']:.0f}, {ours['PSS MiB'] / theirs['PSS MiB']:.2f} times the memory, "
        f"and give {ours['images/s'] / theirs['images/s']:.2f} times the images/s"
    )


if __name__ == "__main__":
    main()
