"""Opening a task: its data root, its splits, and everything that a loader's worker needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..catalogue import Catalogue, Entry
from ..errors import ConfigError, DataError, UmedptError
from ..label_type import LabelType
from ..missing import data_folder, missing_data
from ..specs import Instances, LabelTypeSpec, TaskSpec, resolve
from .cases import Case
from .splits import THREE_WAYS, VAL_FROM_TRAIN, split_by_patient


@dataclass(frozen=True)
class TaskData:
    """A task as the loader sees it.

    Attributes:
        name: The task's name.
        cases: The opened splits.
        label: The label type, made for this task.
        geometry: What moves with the image.
        instances: How a case gives instances.
        intensity: The intensity rule.
        augmentation: Import string of the profile's transforms; None augments nothing.
        volume_augmentation: Likewise for volumes, when they are loaded.
        batch_size: Instances a training batch.
    """

    name: str
    cases: dict[str, Sequence[Case]]
    label: LabelType
    geometry: str
    instances: Instances
    intensity: str
    augmentation: str | None
    volume_augmentation: str | None
    batch_size: int

    @property
    def per_case(self) -> int:
        """Instances that a case gives each time it is loaded."""
        return getattr(self.instances, "per_case", 1)

    @property
    def evaluation_batch_size(self) -> int:
        """Instances an evaluation batch: bags, which differ in size, come one by one."""
        return 1 if self.instances.kind == "bag" else self.batch_size

    def rule(self, case: Case) -> str:
        """The intensity rule for a case, which may name its own."""
        return getattr(case, "intensity", None) or self.intensity

    def check(self, target: Any, size: tuple[int, int]) -> tuple[Any, int]:
        """As the label type checks a raw target.

        Raises:
            DataError: The target does not fit the image or the classes.
        """
        try:
            return self.label.check(target, size)
        except ValueError as error:
            raise DataError(str(error)) from error

    def batches(self, split: str) -> int:
        """The number of batches that evaluate all instances of a split."""
        return math.ceil(len(self.cases[split]) * self.per_case / self.evaluation_batch_size)


def find_root(
    entry: Entry[TaskSpec], root: Path | str | None, data_root: Path | str | None
) -> Path | None:
    """As :func:`data_folder`, which is there.

    Raises:
        ConfigError: It is not there; the message says how to get the data.
    """
    if text := missing_data([(entry, root)], data_root):
        raise ConfigError(text)
    return data_folder(entry, root, data_root)


def make_label(spec: TaskSpec, label_type: LabelTypeSpec) -> LabelType:
    """The label type at work for a task.

    Raises:
        ConfigError: The task's label options do not fit the label type.
    """
    try:
        label: LabelType = resolve(label_type.factory)(spec.classes, **spec.label_options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"task {spec.name}: label type {spec.label_type}: {error}") from error
    return label


def make_options(spec: TaskSpec, given: dict[str, Any]) -> Any:
    """The task's options model, filled from a mix; None where the task has no options.

    Raises:
        ConfigError: An option is unknown or invalid.
    """
    if spec.options is None:
        if given:
            raise ConfigError(f"task {spec.name} has no options; remove {', '.join(given)}")
        return None
    try:
        return resolve(spec.options).model_validate(given)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"]))
        raise ConfigError(f"task {spec.name}: options.{where}: {detail['msg']}") from error


def open_split(spec: TaskSpec, root: Path | None, split: str, options: Any) -> Sequence[Case]:
    """The cases of one split: the publisher's, or the core's by patient where there is none.

    Raises:
        ConfigError: The publisher's splits have no such split.
        DataError: The split is empty, or the plugin cannot read the layout.
    """
    cases: Sequence[Case]
    if not spec.splits:
        cases = split_by_patient(_ask(spec, root, "all", options), THREE_WAYS)[split]
    elif split in spec.splits and (split != "train" or "val" in spec.splits):
        cases = _ask(spec, root, split, options)
    elif split in ("train", "val"):
        cases = split_by_patient(_ask(spec, root, "train", options), VAL_FROM_TRAIN)[split]
    else:
        raise ConfigError(
            f"task {spec.name} has no {split} split; its publisher made {', '.join(spec.splits)}"
        )
    if not len(cases):
        raise DataError(f"task {spec.name}: split {split} at {root} is empty; check the folder")
    return cases


def _ask(spec: TaskSpec, root: Path | None, split: str, options: Any) -> Sequence[Case]:
    try:
        cases: Sequence[Case] = resolve(spec.cases)(root, split, options)
    except UmedptError:
        raise
    except FileNotFoundError as error:
        raise DataError(
            f"task {spec.name}: {error.filename} is missing; compare {root} with the layout in "
            f"the plugin's README"
        ) from error
    except Exception as error:
        raise DataError(
            f"task {spec.name}: cannot read the layout at {root}: {type(error).__name__}: {error}"
        ) from error
    return cases


def open_task(
    catalogue: Catalogue,
    name: str,
    splits: Sequence[str],
    *,
    root: Path | str | None = None,
    data_root: Path | str | None = None,
    options: dict[str, Any] | None = None,
    augmentation: str | None = None,
    image_size: int | None = None,
    batch_size: int = 8,
) -> TaskData:
    """Open a task for a loader.

    Args:
        catalogue: Where the task and all that it names are registered.
        name: The task.
        splits: The splits to open, out of train, val, test.
        root: The folder of its data; see :func:`find_root`.
        data_root: See :func:`find_root`.
        options: The task's options.
        augmentation: The name of a profile; None augments nothing.
        image_size: Side of the square that every instance becomes; None: as the task says.
        batch_size: Instances a batch.

    Raises:
        ConfigError: Something named is missing or invalid.
        DataError: The data cannot be read.
    """
    entry = catalogue.find("task", name)
    spec: TaskSpec = entry.spec
    label_type: LabelTypeSpec = catalogue.find("label type", spec.label_type).spec
    profile = augmentation and catalogue.find("augmentation", augmentation).spec
    instances = spec.instances
    if image_size:
        instances = instances.model_copy(update={"size": (image_size, image_size)})
    if label_type.geometry == "none" and getattr(instances, "foreground", 0.0) > 0:
        raise ConfigError(f"task {name}: there is no foreground to sample without masks or boxes")
    folder = find_root(entry, root, data_root)
    chosen = make_options(spec, options or {})
    return TaskData(
        name=name,
        cases={split: open_split(spec, folder, split, chosen) for split in splits},
        label=make_label(spec, label_type),
        geometry=label_type.geometry,
        instances=instances,
        intensity=spec.intensity,
        augmentation=profile.image if profile else None,
        volume_augmentation=profile.volume if profile else None,
        batch_size=batch_size,
    )
