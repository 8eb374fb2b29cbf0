"""What a spawned process does with tasks: open each, give a batch, say what was in it."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

from torch import Tensor

from ..catalogue import Catalogue, load_catalogue
from ..data.batch import Batch, Ticket
from ..data.loader import Instances
from ..data.tasks import TaskData, open_task


def work() -> None:
    """What the worker does: print one line a task, its name and two digests or errors."""
    order = json.loads(sys.argv[1])
    catalogue = load_catalogue(order["blocked"])
    for name, root, path in order["orders"]:
        answers = []
        for opened in (partial(_by_name, catalogue, name, root), partial(_pickled, path)):
            try:
                batch = batch_of(opened())
                answers.append(digest(batch) if len(batch) else f"skipped: {batch.skips[0].reason}")
            except Exception as error:
                answers.append(f"raised {type(error).__name__}: {error}")
        print(json.dumps([name, answers]), flush=True)


def _by_name(catalogue: Catalogue, name: str, root: str) -> TaskData:
    augmentation: str | None = catalogue.find("task", name).spec.augmentation
    return open_task(
        catalogue,
        name,
        ("train",),
        root=root or None,
        augmentation=None if augmentation == "none" else augmentation,
        image_size=64,
        batch_size=4,
    )


def _pickled(path: str) -> TaskData:
    with open(path, "rb") as file:
        return cast(TaskData, pickle.load(file))  # noqa: S301 - our own


def batch_of(task: TaskData) -> Batch:
    """The task's first training batch."""
    return Instances({task.name: task}, seed=0)[Ticket("train", task.name, 0, ends_step=True)]


def digest(batch: Batch) -> str:
    """A name for what is in a batch."""
    parts = [*batch.ids, batch.x_BCHW, *_leaves(batch.target)]
    text = b"".join(
        part.contiguous().numpy().tobytes() if isinstance(part, Tensor) else repr(part).encode()
        for part in parts
    )
    return hashlib.sha256(text).hexdigest()


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
