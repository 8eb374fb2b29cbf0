"""Slices of volumes: what the caching component saves, what it holds, and that it loads once.

Synthetic NIfTI volumes with masks go through the loader with the tomography profile. Each of the
other ways reads, augments and cuts with the same functions, with as many workers, and differs in
what it keeps:

- no cache: every slice reads its volume and augments it in 3D.
- MONAI CacheDataset and PersistentDataset: what is not random (volume and mask as read, float32)
  is kept, for all cases, in memory or on disk; every slice augments its volume anew.
- the same, 8 a volume: an item is a volume, augmented once, and gives 8 slices, as MONAI's
  RandSpatialCropSamplesd would; a batch then is one patient, where ours mixes the window's.
- reading only: all augmentation off.

Rates and processor time are those after the first batches (what MONAI reads once to fill its caches
does not count, ours loads anew each pass and does); "first" is the time to the first batch, with
it. Memory is the proportional set size of all processes, above what the main one had before: its
highest of four samples a second. The script fails where a volume is loaded twice in a visit, the
cache exceeds its budget, or batches depend on the workers; times fail nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median
from threading import Event, Thread
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from loader import children, memory, processor_seconds
from monai.data import CacheDataset, DataLoader, PersistentDataset, worker_init_fn
from monai.transforms import Compose, RandomizableTransform, Transform
from torch.utils.data import get_worker_info

from umedpt_core import Slices, VolumeCase, load_catalogue, read_volume
from umedpt_core.data import slices
from umedpt_core.data.augment import Augmentation, resize
from umedpt_core.data.augment3d import VolumeAugmentation
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.data.cache import Cache, open_cache
from umedpt_core.data.loader import Instances, make_loader
from umedpt_core.data.tasks import TaskData
from umedpt_core.data.visits import AHEAD, Visits
from umedpt_core.data.volumes import Volume, write_volume
from umedpt_core.specs import resolve

CASES, SHAPE, SIZE = 12, (96, 192, 192), (224, 224)
PER_CASE, BATCH, WINDOW, SEED = 8, 8, 4, 0
WORKERS, BUDGET, SMALL = 2, 0.25, 0.05  # of the comparisons; GB; too few for the window
SLOW, STEP = 0.7, 0.4  # seconds more a load, where it is slowed down; a training step


@dataclass
class Run:
    """One way of loading, from its start to its end."""

    start: float = field(default_factory=time.perf_counter)
    arrivals: list[float] = field(default_factory=list)  # seconds
    waits: list[float] = field(default_factory=list)  # seconds that the consumer waited
    used: list[float] = field(default_factory=list)  # processor seconds of the workers so far
    closing: float = 0.0
    pss: float = 0.0  # MiB
    held: int = 0  # bytes in the cache
    digest: int = 0

    @property
    def first(self) -> float:
        """Seconds to the first batch."""
        return self.arrivals[0] - self.start

    @property
    def rate(self) -> float:
        """Slices a second, once each worker has delivered."""
        batches = len(self.arrivals) - WORKERS
        return batches * BATCH / (self.arrivals[-1] - self.arrivals[WORKERS - 1])

    @property
    def processor(self) -> float:
        """Processor ms a slice, likewise."""
        batches = len(self.arrivals) - WORKERS
        return 1000 * (self.used[-1] - self.used[WORKERS - 1]) / (batches * BATCH)


def consume(begin: Callable[[], Iterable[Any]], cache: Cache | None = None, step: float = 0) -> Run:
    """Take all batches, each followed by a pause in place of a training step."""
    before, ended = memory(os.getpid())[0], Event()
    run = Run()

    def sample() -> None:
        while not ended.wait(0.25):
            run.pss = max(run.pss, sum(map(pss, [os.getpid(), *children()])) - before)
            run.held = max(run.held, held(cache) if cache else 0)

    sampler = Thread(target=sample)
    sampler.start()
    try:
        asked = run.start
        for batch in begin():
            run.arrivals.append(time.perf_counter())
            run.waits.append(run.arrivals[-1] - asked)
            run.used.append(sum(map(seconds, children())))
            x_BCHW = batch.x_BCHW if isinstance(batch, Batch) else batch[0]
            assert len(x_BCHW) == BATCH, batch  # noqa: S101
            run.digest = zlib.crc32(np.ascontiguousarray(x_BCHW.numpy()), run.digest)
            time.sleep(step)
            asked = time.perf_counter()
        run.closing = time.perf_counter() - asked
    finally:
        ended.set()
        sampler.join()
    return run


def pss(pid: int) -> float:
    """MiB of a process; 0 where it has ended."""
    try:
        return memory(pid)[0]
    except (OSError, KeyError):
        return 0


def seconds(pid: int) -> float:
    """Processor seconds of a process; 0 where it has ended."""
    try:
        return processor_seconds([pid])
    except OSError:
        return 0


def held(cache: Cache) -> int:
    """Bytes of the arrays in a cache's folder."""
    total = 0
    for folder, _, names in os.walk(cache.folder):
        for name in names:
            with suppress(FileNotFoundError):  # its last use is over
                total += os.stat(f"{folder}/{name}").st_size
    return total


def make_cases(folder: Path) -> list[VolumeCase]:
    """Noise with a brighter ellipsoid, which is the mask."""
    cases = []
    like = Volume(np.zeros(SHAPE, np.int16), np.diag([-1.0, -1, -2, 1])[:, [2, 1, 0, 3]])
    for n in range(CASES):
        rng = np.random.default_rng(n)
        axes = zip(np.ogrid[*map(slice, SHAPE)], rng.uniform(0.3, 0.7, 3), SHAPE, strict=True)
        organ = sum(((axis / edge - center) / 0.25) ** 2 for axis, center, edge in axes) < 1
        voxels = 200 + 400 * organ + rng.normal(0, 20, SHAPE)
        image, mask = folder / f"case{n:02}.nii.gz", folder / f"mask{n:02}.nii.gz"
        write_volume(image, voxels.astype(np.int16), like)
        write_volume(mask, organ.astype(np.uint8), like)
        cases.append(VolumeCase(image.name, image.name, (image,), partial(read_volume, mask)))
    return cases


def make_task(cases: Sequence[VolumeCase]) -> TaskData:
    """Segmentation with the tomography profile."""
    catalogue = load_catalogue()
    profile = catalogue.find("augmentation", "tomography").spec
    return TaskData(
        name="volumes",
        cases={"train": cases},
        label=resolve(catalogue.find("label type", "segmentation").spec.factory)(("organ",)),
        geometry="mask",
        instances=Slices(size=SIZE, per_case=PER_CASE),
        intensity="mri",
        augmentation=profile.image,
        volume_augmentation=profile.volume,
        batch_size=BATCH,
    )


def ours(
    task: TaskData, batches: int, workers: int = WORKERS, budget: float = BUDGET, step: float = 0
) -> tuple[Run, Cache]:
    """The loader with a new cache; without budget, with none."""
    with ExitStack() as stack:
        cache = stack.enter_context(open_cache(budget)) if budget else None
        instances = Instances({task.name: task}, SEED, window=WINDOW, cache=cache)
        tickets = [Ticket("train", task.name, number) for number in range(batches)]
        return consume(lambda: make_loader(instances, tickets, workers), cache, step), cache


class Read(Transform):
    """A case's number -> the volume and its mask as slices.load reads them."""

    def __init__(self, task: TaskData) -> None:
        self.task = task

    def __call__(self, number: int) -> dict[str, torch.Tensor]:
        """Read."""
        case = self.task.cases["train"][number]
        volume = case.image
        image = slices._channels(volume.voxels, self.task.intensity)
        mask, _ = slices._target(self.task, case, volume)
        found = {"image": image, "mask": mask, "affine": volume.affine}
        return {name: torch.from_numpy(array) for name, array in found.items()}


class Cut(RandomizableTransform):
    """A volume -> so many slices of it along random axes, after one augmentation in 3D."""

    def __init__(self, task: TaskData, number: int) -> None:
        super().__init__()
        self.number, self.augment = number, Augmentation(task.augmentation, task.geometry)
        self.move = None
        if task.volume_augmentation:
            self.move = VolumeAugmentation(task.volume_augmentation, None)

    def __call__(self, data: Mapping[str, torch.Tensor]) -> list[tuple[Any, Any]]:
        """Move, cut, resize and augment."""
        image, mask, affine = (data[name].numpy() for name in ("image", "mask", "affine"))
        if self.move:
            image, mask, *_ = self.move(image, mask, None, affine, self.R.randint(1 << 31))
        found = []
        for _ in range(self.number):
            axis = self.R.randint(3)
            place = self.R.randint(image.shape[axis])
            plane, target = image.take(place, axis), mask.take(place, axis)
            plane = np.broadcast_to(plane, (*target.shape, 3))
            plane, target = resize(plane, target, SIZE, "mask")
            found.append(self.augment(plane, target, self.R.randint(1 << 31)))
        return found


def collate(items: Sequence[Sequence[tuple[Any, Any]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """B x 3 x H x W and B x H x W."""
    images, masks = zip(*(pair for item in items for pair in item), strict=True)
    x_BHWC = np.stack(images)
    x_BCHW = np.ascontiguousarray(x_BHWC.transpose(0, 3, 1, 2))
    return torch.from_numpy(x_BCHW), torch.from_numpy(np.stack(masks))


def monai(task: TaskData, batches: int, kind: str, an_item: int = 1) -> Run:
    """MONAI's dataset and loader."""
    order = np.random.default_rng(SEED).permutation(CASES)
    places = np.resize(order, batches * BATCH // an_item).tolist()
    torch.manual_seed(SEED)  # of the workers
    transform = Compose([Read(task), Cut(task, an_item)])
    with tempfile.TemporaryDirectory() as folder:

        def begin() -> Any:
            numbers = list(range(CASES))
            if kind == "CacheDataset":  # copies are not needed: nothing changes what is kept
                options = {"copy_cache": False, "progress": False, "num_workers": WORKERS}
                dataset = CacheDataset(numbers, transform, **options)
            else:
                dataset = PersistentDataset(numbers, transform, folder)
                # Filled first: else each worker reads what another one has not kept yet.
                for number in numbers:
                    dataset._cachecheck(number)
            return DataLoader(
                dataset,
                batch_size=BATCH // an_item,
                sampler=places,
                num_workers=WORKERS,
                prefetch_factor=4,
                collate_fn=collate,
                worker_init_fn=one_thread,
            )

        return consume(begin)


def one_thread(worker: int) -> None:
    """As in our workers, and MONAI's seeding."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    worker_init_fn(worker)


@contextmanager
def watched(
    folder: Path, slow: float = 0, workers: Sequence[int] = (0,)
) -> Iterator[Callable[[], Counter[str]]]:
    """Count loads, by case and seed, that is by visit; slow down those of some workers."""
    log, load = folder / "loads", slices.load
    log.write_text("")

    def counted(task: TaskData, case: VolumeCase, seed: int | None) -> Any:
        with log.open("a") as file:
            file.write(f"{case.id} {seed}\n")
        worker = get_worker_info()
        if slow and worker and worker.id in workers:
            time.sleep(slow)
        return load(task, case, seed)

    with patch.object(slices, "load", counted):  # forked workers inherit it
        yield lambda: Counter(log.read_text().splitlines())


def compare(task: TaskData, rounds: int) -> None:
    """Ours against the other ways."""
    reading = replace(task, augmentation=None, volume_augmentation=None)
    ways: dict[str, Callable[[], Run]] = {
        "ours": lambda: ours(task, 10)[0],
        "no cache": lambda: ours(task, 6, budget=0)[0],
        "CacheDataset": lambda: monai(task, 6, "CacheDataset"),
        "PersistentDataset": lambda: monai(task, 6, "PersistentDataset"),
        "CacheDataset, 8 a volume": lambda: monai(task, 12, "CacheDataset", 8),
        "PersistentDataset, 8 a volume": lambda: monai(task, 12, "PersistentDataset", 8),
        "reading only: ours": lambda: ours(reading, 10)[0],
        "reading only: no cache": lambda: ours(reading, 6, budget=0)[0],
        "reading only: CacheDataset": lambda: monai(reading, 10, "CacheDataset"),
        "reading only: PersistentDataset": lambda: monai(reading, 10, "PersistentDataset"),
    }
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            runs[name].append(way())
    print(f"{WORKERS} workers, medians of {rounds}; ratios are how much more ours does")
    print(f"{'':32}slices/s  ratio  CPU ms/slice  ratio  first s  MiB PSS")
    for name, found in runs.items():
        rate, processor, first, pss = (
            median(getattr(run, key) for run in found)
            for key in ("rate", "processor", "first", "pss")
        )
        best = runs["reading only: ours" if name.startswith("reading") else "ours"]
        faster = median(a.rate / b.rate for a, b in zip(best, found, strict=True))
        cheaper = median(b.processor / a.processor for a, b in zip(best, found, strict=True))
        print(
            f"{name:32}{rate:8.1f} {faster:6.2f} {processor:13.1f} {cheaper:6.2f} "
            f"{first:8.2f} {pss:8.0f}"
        )


def check(task: TaskData, folder: Path) -> list[str]:
    """Loads a visit, memory and time to the first batch; what is not as claimed."""
    faults, digests, batches = [], set(), 10
    tickets = [Ticket("train", task.name, number) for number in range(batches)]
    visits = Visits({task.name: task}, SEED, WINDOW, None)
    used = {visit for ticket in tickets for visit, _ in visits.of(ticket)}
    print(f"\n{'workers':20}loads a visit  visits  first s  MiB PSS  MB held of budget")
    for note, workers, budget, slow in (
        ("", 0, BUDGET, 0),
        ("", 1, BUDGET, 0),
        ("", 2, BUDGET, 0),
        ("", 4, BUDGET, 0),
        (", one slow", 2, BUDGET, SLOW),
        (", small budget", 2, SMALL, 0),
    ):
        with watched(folder, slow) as loads:
            run, cache = ours(task, batches, workers, budget)
        counts, name = loads(), f"{workers}{note}"
        print(
            f"{name:20}{sum(counts.values()) / len(counts):13.2f} {len(counts):7} {run.first:8.2f} "
            f"{run.pss:8.0f} {run.held / 1e6:7.0f} of {cache.bytes / 1e6:.0f}"
        )
        ahead = AHEAD * BATCH // PER_CASE if workers else 0
        if not len(used) <= len(counts) <= len(used) + ahead:
            faults.append(f"{name} workers: {len(counts)} of {len(used)} visits loaded")
        if budget != SMALL and set(counts.values()) != {1}:
            faults.append(f"{name} workers: loads a visit {sorted(counts.values())}")
        if run.held > cache.bytes:
            faults.append(f"{name} workers: {run.held} bytes held of {cache.bytes}")
        digests.add(run.digest)
    if len(digests) > 1:
        faults.append("batches depend on the workers or on the budget")
    return faults


def stalls(task: TaskData, folder: Path) -> None:
    """What loading ahead buys, with files at hand and with files that one waits for."""
    print(f"\nloading {AHEAD} batches ahead: what a training step of {STEP} s waits for its batch")
    print("s more a load  workers  ahead  mean ms  max ms  waits > 20 ms  total s  closing s")
    for latency, workers, ahead in product((0, SLOW), (1, 2), (True, False)):
        with watched(folder, latency, range(workers)), ExitStack() as stack:
            if not ahead:
                stack.enter_context(patch.object(Visits, "load_ahead", lambda *_: None))
            run, _ = ours(task, 12, workers, step=STEP)
        waits = run.waits[1:]
        print(
            f"{latency:13} {workers:8}  {'yes' if ahead else 'no':5} {1000 * mean(waits):8.1f} "
            f"{1000 * max(waits):7.0f} {sum(w > 0.02 for w in waits):7} of {len(waits):<3} "
            f"{run.arrivals[-1] - run.start:10.1f} {run.closing:10.2f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="repeats of the comparison")
    rounds = parser.parse_args().rounds
    warnings.filterwarnings("ignore", "This DataLoader will create")  # 4 workers on few cores
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["UMEDPT_CACHE"] = str(folder / "cache")
        task = make_task(make_cases(folder))
        print(
            f"{CASES} volumes of {' x '.join(map(str, SHAPE))} int16 with masks, .nii.gz; "
            f"{PER_CASE} slices a load, batches of {BATCH}, window {WINDOW}; "
            f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )
        compare(task, rounds)
        faults = check(task, folder)
        stalls(task, folder)
    print(f"load of the machine at the end {os.getloadavg()[0]:.1f}")
    sys.exit("; ".join(faults) or 0)


if __name__ == "__main__":
    main()
