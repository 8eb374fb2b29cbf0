"""The cases that an adaptation trains on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ..catalogue import Catalogue
from ..data.cases import Case
from ..data.tasks import TaskData, open_task
from ..errors import ConfigError


def training_cases(
    catalogue: Catalogue,
    task: str,
    *,
    root: Path | str | None = None,
    data_root: Path | str | None = None,
    options: dict[str, Any] | None = None,
) -> tuple[TaskData, Sequence[Case]]:
    """The opened task and all cases that may be trained on; the test split stays closed.

    The paper uses no validation set in its benchmark, so where the core would set a share of the
    publisher's train split aside, that share is trained on too. A validation split that the
    publisher made stays out.

    Raises:
        ConfigError: The task or its data root is missing.
        DataError: The data cannot be read.
    """
    splits = ("train",) if "val" in catalogue.find("task", task).spec.splits else ("train", "val")
    data = open_task(catalogue, task, splits, root=root, data_root=data_root, options=options)
    return data, [case for split in splits for case in data.cases[split]]


def chosen_cases(cases: Sequence[Case], ids: Collection[str] | None) -> list[Case]:
    """Those of the cases that are named, in their order; None: all.

    Raises:
        ConfigError: A name belongs to no training case.
    """
    if ids is None:
        return list(cases)
    wanted = set(ids)
    if unknown := sorted(wanted - {case.id for case in cases}):
        raise ConfigError(
            f"the draw names '{unknown[0]}', which is no training case; draw anew from this data"
        )
    return [case for case in cases if case.id in wanted]
