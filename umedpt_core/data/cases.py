"""Cases: what a dataset consists of before anything is cut, resized or augmented."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from .readers import read_image


@runtime_checkable
class Case(Protocol):
    """One case of a task. It loads when asked, not when listed, and pickles small.

    Attributes:
        id: Unique within the task; names the case in messages, so a relative path is good.
        patient: Cases of one patient are never on two sides of a split.
        image: H x W or H x W x 3 array of the file's own integer type, or float32; where instances
            are slices or bags a :class:`umedpt_core.Volume`, where they are patches a
            :class:`umedpt_core.Slide`.
        target: What the task's label type documents as its raw target.
    """

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def patient(self) -> str: ...  # noqa: D102
    @property
    def image(self) -> Any: ...  # noqa: D102
    @property
    def target(self) -> Any: ...  # noqa: D102


class Labelled:
    """The target of a case with a field ``label``: the raw target, or a function that loads it."""

    __slots__ = ()
    label: Any | Callable[[], Any]

    @property
    def target(self) -> Any:
        """The raw target."""
        return self.label() if callable(self.label) else self.label


@dataclass(frozen=True, slots=True)
class FileCase(Labelled):
    """A case whose image is one file.

    Attributes:
        id: See :class:`Case`.
        patient: See :class:`Case`.
        path: The image file.
        label: The raw target, or a function without arguments that loads it; it must pickle, so a
            ``functools.partial`` of a module's function, not a lambda.
    """

    id: str
    patient: str
    path: Path
    label: Any | Callable[[], Any]

    @property
    def image(self) -> NDArray[Any]:
        """The decoded file; see :func:`umedpt_core.read_image`."""
        return read_image(self.path)


@dataclass(frozen=True, slots=True)
class LoadedCase(Labelled):
    """A case whose image is loaded by a function: from a DICOM file, or a row of an array.

    Attributes:
        id: See :class:`Case`.
        patient: See :class:`Case`.
        load: A function without arguments that loads the image; it must pickle, so a
            ``functools.partial`` of a module's function, not a lambda.
        label: As of :class:`FileCase`.
    """

    id: str
    patient: str
    load: Callable[[], NDArray[Any]]
    label: Any | Callable[[], Any]

    @property
    def image(self) -> NDArray[Any]:
        """What the function loads."""
        return self.load()
