"""The controls of transfer, on shapes: the probe finds what is there, and nothing where nothing is.

Pretrained on the shapes tasks, the frozen encoder with a linear head has to reach the aims on the
test split (positive control). The same encoder with shuffled training labels has to fall to chance
(negative control): each training image then has another one's target, the test split stays as it
is. What still scored well would have learned from the test split, or not be measured on it.

One shuffle proves little where a class is a cluster in the embedding: the head gives a whole
cluster the label that the shuffle happens to favour there, so with three clusters accuracy is about
0, 1/3, 2/3 or 1, with a standard deviation of .27 around 1/3, and the AUC of a label is near 0 or 1
(.29 around .5, over three labels). So the mean over many shuffles is held against chance; over 30
the standard error is at most .055. Pixels have no such luck: the mask of another image leaves only
where shapes tend to be, so three shuffles do.

One threshold of those written down beforehand failed: with shuffled labels detection was to stay
below mAP50 .1, and reached .29. Nothing leaks. The centerness branch of FCOS is a part of the
shared decoder, which is fixed here: it has learned the places of shapes from true boxes, and the
boxes of a detection are ranked by it. So a box of average size is found around each shape, with a
class at random. With the centerness of all places set to the same value, the one shuffle that was
looked into fell from .21 to .04; a random encoder and decoder, as they are, reach .03. Hence the
last row, which was added then: the same threshold without the centerness.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from torch import Tensor

from umedpt_core import (
    AdaptSettings,
    Case,
    Catalogue,
    Mix,
    TaskSpec,
    adapt,
    load_catalogue,
    pretrain,
)
from umedpt_core.blocks.decoders import Pyramid, PyramidDecoder
from umedpt_core.catalogue import Entry
from umedpt_core.data.tasks import make_options, open_split


class Control(NamedTuple):
    """What a metric has to be.

    Attributes:
        task: On which task.
        metric: Which one.
        aim: At least this with the true labels; None: no aim.
        chance: At most this far from the constant prediction with shuffled labels; None: any.
        shuffles: Their number.
        centered: Whether boxes are ranked by the centerness that the decoder has learned.
    """

    task: str
    metric: str
    aim: float | None
    chance: float | None
    shuffles: int
    centered: bool = True

    @property
    def name(self) -> str:
        """As the table has it."""
        return self.task if self.centered else f"{self.task}, no centerness"


# Written down before the first run. The aims are those of issue 7. Chance is what a constant
# prediction reaches, which the label types report as the baseline: the share of the majority class,
# .5, background alone (its share, averaged over the classes), no box. To accuracy and AUC .1 is
# added, twice the standard error or more. Shuffled masks still tell that shapes are seldom at the
# border, which the mean IoU may turn into .05; a box in the middle meets a shape now and then, with
# one class in three: .1. An AUC can be too low as well, which would be a fault too. Changed since:
# the rows of detection, see above.
CONTROLS = (
    Control("shapes-classification", "accuracy", 0.9, 0.1, 30),
    Control("shapes-classification", "auc", None, 0.1, 30),
    Control("shapes-multilabel", "auc", None, 0.1, 30),
    Control("shapes-segmentation", "miou", 0.7, 0.05, 3),
    Control("shapes-detection", "map50", 0.5, None, 3),
    Control("shapes-detection", "map50", None, 0.1, 10, centered=False),
)
EPOCHS = 25
SETTINGS = (  # those of docs/demo.py
    "encoder.name=resnet10t",
    "decoders={pixels: 64, pyramid: 64}",
    "epochs=3",
    "steps_per_epoch=110",
)


class Shuffle(BaseModel):
    """The options of a shuffled task: what is shuffled, and how."""

    spec: TaskSpec
    seed: int


@dataclass(frozen=True, slots=True)
class Shuffled:
    """The image of a case with the target of another one."""

    pictured: Case
    labelled: Case

    @property
    def id(self) -> str:
        """The image's; likewise below."""
        return self.pictured.id

    @property
    def patient(self) -> str:
        """See :class:`umedpt_core.Case`."""
        return self.pictured.patient

    @property
    def image(self) -> Any:
        """See :class:`umedpt_core.Case`."""
        return self.pictured.image

    @property
    def target(self) -> Any:
        """The other one's."""
        return self.labelled.target


def open_shuffled(root: Path | None, split: str, shuffle: Shuffle) -> Sequence[Case]:
    """The cases of a split; in ``train`` each image has the target of the next in a random ring."""
    options = make_options(shuffle.spec, {})
    if split == "test":
        return open_split(shuffle.spec, root, split, options)
    cases = [
        case for part in ("train", "val") for case in open_split(shuffle.spec, root, part, options)
    ]
    ring = np.random.default_rng(shuffle.seed).permutation(len(cases))
    return [Shuffled(cases[a], cases[b]) for a, b in zip(ring, np.roll(ring, 1), strict=True)]


def shuffled_task(entry: Entry[TaskSpec]) -> Entry[TaskSpec]:
    """The task under another name, with shuffled training labels."""
    changed = {
        "name": f"{entry.spec.name}-shuffled",
        "splits": ("train", "test"),
        "cases": "controls:open_shuffled",
        "options": "controls:Shuffle",
    }
    return Entry(entry.spec.model_copy(update=changed), entry.distribution, entry.version)


def without_centerness() -> AbstractContextManager[Any]:
    """Within it the decoder says of all places that they are as central."""
    decode = PyramidDecoder.forward

    def flat(decoder: PyramidDecoder, features: Sequence[Tensor], size: tuple[int, int]) -> Pyramid:
        pyramid = decode(decoder, features, size)
        return pyramid._replace(centerness=[c.new_zeros(c.shape) for c in pyramid.centerness])

    return patch.object(PyramidDecoder, "forward", flat)


def probes(
    model: str, task: str, shuffles: int, catalogue: Catalogue, folder: Path
) -> list[dict[str, float]]:
    """The metrics with the true labels, then with each shuffle."""
    entry = catalogue.tasks[task]
    shuffled, spec = shuffled_task(entry), entry.spec.model_dump(mode="json")
    names: list[tuple[str, dict[str, Any]]] = [(task, {})]
    names += [(shuffled.spec.name, {"spec": spec, "seed": n}) for n in range(shuffles)]
    settings = AdaptSettings(epochs=EPOCHS, resamples=0)
    return [
        adapt(
            model,
            name,
            folder / str(number),
            settings=settings,
            keep_model=False,
            catalogue=catalogue.with_task(shuffled),
            options=options,
            workers=0,
            quiet=True,
        )["metrics"]
        for number, (name, options) in enumerate(names)
    ]


def main() -> None:
    """Pretrain if need be, probe, compare and print; exit 1 where a control fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", help="a run on suite:shapes; default: pretrain one")
    given = parser.parse_args().run
    catalogue = load_catalogue()
    table = Table(box=None)
    for column in ("task", "metric", "aim", "true", "chance", "at most", "shuffled", "range", ""):
        table.add_column(column, justify="left" if column == "task" else "right", no_wrap=True)
    failed = 0
    with TemporaryDirectory() as name:
        folder = Path(name)
        if given is None:
            pretrain(Mix.compose(catalogue, ["suite:shapes"], settings=SETTINGS), folder / "run")
        model = given or str(folder / "run")
        found: dict[str, list[dict[str, float]]] = {}
        for control in CONTROLS:
            task, metric, aim, chance, shuffles, centered = control
            if control.name not in found:
                with nullcontext() if centered else without_centerness():
                    place = folder / control.name
                    found[control.name] = probes(model, task, shuffles, catalogue, place)
            true, *shuffled = (metrics[metric] for metrics in found[control.name])
            baseline, mean = found[control.name][0][f"{metric}_baseline"], fmean(shuffled)
            away = abs(mean - baseline) if metric == "auc" else mean - baseline
            good = (aim is None or true >= aim) and (chance is None or away <= chance)
            failed += not good
            table.add_row(
                control.name,
                metric,
                "" if aim is None else f"{aim:.1f}",
                f"{true:.3f}",
                f"{baseline:.3f}",
                "" if chance is None else f"{baseline + chance:.3f}",
                f"{mean:.3f} ± {stdev(shuffled) / len(shuffled) ** 0.5:.3f}",
                f"{min(shuffled):.2f} to {max(shuffled):.2f}",
                "ok" if good else "FAILS",
            )
    Console(width=120).print(table)
    print("shuffled: mean and standard error over shuffles of the training labels")
    print(f"controls: {len(CONTROLS) - failed} of {len(CONTROLS)} hold")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
