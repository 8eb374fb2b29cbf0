"""From a case to its instances, whatever their kind: whole images, slices, patches or bags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from numpy.typing import NDArray

from .cache import Arrays
from .cases import Case
from .draw import Draw

if TYPE_CHECKING:
    from .tasks import TaskData

KINDS = {"whole": "whole", "slices": "slices", "bag": "slices", "patches": "patches"}
"""The module of this package that loads and cuts each kind of instances."""
KEPT = ("slices", "patches")
"""Kinds that take several instances from a case while it is loaded."""
LASTING = ("patches",)
"""Kinds whose loading draws nothing: what it gives serves all visits of a case."""


class Instance(NamedTuple):
    """What a case gives at a time.

    Attributes:
        images: H x W x 3 each, uint8 or float32 in [0, 1]: one, or those of a bag.
        target: As checked by the label type.
        dropped: How many annotations were unusable.
    """

    images: list[NDArray[Any]]
    target: Any
    dropped: int


class Kind(Protocol):
    """A module that knows one kind of instances."""

    load: Callable[[TaskData, Case, int | None], Arrays]
    cut: Callable[[TaskData, Case, Arrays, Draw], tuple[Any, Any, int]]


def kind_of(task: TaskData) -> Kind:
    """The module for a task's kind of instances; those for volumes and slides load on demand."""
    return import_module(f".{KINDS[task.instances.kind]}", __package__)


def cut(task: TaskData, case: Case, arrays: Mapping[str, NDArray[Any]], draw: Draw) -> Instance:
    """An instance of a loaded case.

    Raises:
        DataError: Image or target cannot be used.
    """
    image, target, dropped = kind_of(task).cut(task, case, arrays, draw)
    return Instance(image if isinstance(image, list) else [image], target, dropped)


def open_case(task: TaskData, case: Case) -> Instance:
    """The middle one of the instances that a case gives in evaluation, not augmented.

    Raises:
        DataError: Image or target cannot be used. Other errors come from the plugin's reader.
    """
    arrays = kind_of(task).load(task, case, None)
    return cut(task, case, arrays, Draw(task.per_case // 2, task.per_case))
