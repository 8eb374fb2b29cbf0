"""What plugins register: frozen models that hold facts and import strings, never objects.

They import no torch, survive a round trip through JSON, and refuse unknown fields. A callable or
class that a plugin brings stays an import string (``"package.module:name"``) until it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

ImportString = Annotated[str, StringConstraints(pattern=r"^\w+(\.\w+)*:\w+(\.\w+)*$")]
"""``"package.module:name"``."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
"""Lower-case words and digits joined by single hyphens."""

Edge = Annotated[int, Field(ge=16)]

Size = Annotated[int, Field(ge=32)] | tuple[Edge, Edge]
"""The longer edge in pixels (a batch keeps its mean aspect ratio), or (height, width) as it is."""

Axis = Literal["axial", "coronal", "sagittal"]
Micrometres = Annotated[float, Field(gt=0)]

IntensityRule = Literal["uint8", "dtype", "ct", "mri"]
Commercial = Literal["yes", "no", "unknown"]
Access = Literal["open", "registration", "bundled", "generated"]


class Spec(BaseModel):
    """The base of all specs: frozen, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Archive(Spec):
    """A zip or tar file of a dataset that anybody can download, for ``umedpt data fetch``.

    Attributes:
        url: Its address, http or https, without any login.
        checksum: ``md5:`` or ``sha256:`` and the hexadecimal digest that a public source states.
        folder: The folder at the top of the archive that holds the data. It is unpacked into the
            folder of the plugin; anything beside it is left out.
        loose: The archive has no folder at its top: all of it is unpacked into `folder`, a new one.
        size: Bytes of the archive, where they are known.
    """

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+/\S+$")]
    checksum: Annotated[str, StringConstraints(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")]
    folder: Annotated[str, StringConstraints(pattern=r"^[^\s./\\:][^/\\:]*$")]
    loose: bool = False
    size: int | None = Field(None, gt=0)


class Source(Spec):
    """Where a dataset comes from and under which terms.

    Attributes:
        homepage: The publisher's page.
        licence: SPDX identifier where there is one, else the publisher's own words.
        commercial: Whether the data may be used commercially.
        citation: The publication to cite.
        access: ``open`` (plain download), ``registration``, ``bundled`` (ships with the plugin) or
            ``generated`` (made on the fly, nothing to download).
        download: What to do to get the data, one step an entry; printed when the data is missing.
        archives: What ``umedpt data fetch`` downloads and unpacks; all of the data, or nothing.
    """

    homepage: str
    licence: str
    commercial: Commercial = "unknown"
    citation: str
    access: Access
    download: tuple[str, ...] = ()
    archives: tuple[Archive, ...] = ()

    @property
    def on_disk(self) -> bool:
        """Whether the data lies in a folder: not where it is bundled or generated."""
        return self.access not in ("bundled", "generated")

    @property
    def steps(self) -> tuple[str, ...]:
        """What to do to get the data, at least one step."""
        return self.download or (f"see {self.homepage}",)


class Whole(Spec):
    """A whole image is one instance, resized (paper: Data loading from diverse sources).

    Attributes:
        size: The length of the longer edge in pixels: the images of a batch keep their mean aspect
            ratio, with edges rounded to multiples of 32. Or ``(height, width)``, which is used as
            it is.
    """

    kind: Literal["whole"] = "whole"
    size: Size = 512


class Slices(Spec):
    """A volume gives 2D slices, several each time it is loaded (paper: Data loading).

    Attributes:
        size: See :class:`Whole`.
        axis: The plane of the slices; ``random`` draws one of the three for every batch.
        per_case: Slices that a volume gives before it is loaded and augmented anew.
        spacing: Resample volumes to cubic voxels of this edge, in mm; None: slice them as stored.
        foreground: Share of training slices drawn from those that hold foreground (of a mask, or
            a box); the others are drawn from the whole volume.
    """

    kind: Literal["slices"] = "slices"
    size: Size = 224
    axis: Axis | Literal["random"] = "random"
    per_case: int = Field(8, ge=1)
    spacing: float | None = Field(None, gt=0)
    foreground: float = Field(0.0, ge=0, le=1)


class Patches(Spec):
    """A slide gives patches at random places of its tissue and at random zoom.

    Attributes:
        size: Edge of the square patches in pixels, or (height, width).
        mpp: The range of the zoom in micrometres a pixel, drawn evenly on a logarithmic scale.
        per_case: Patches that a slide gives before it is opened anew.
        foreground: Share of training patches that are centered on foreground (of a mask slide or
            of polygons); the others on any tissue.
    """

    kind: Literal["patches"] = "patches"
    size: Size = 512
    mpp: tuple[Micrometres, Micrometres] = (0.5, 2.0)
    per_case: int = Field(16, ge=1)
    foreground: float = Field(0.0, ge=0, le=1)

    @field_validator("mpp")
    @classmethod
    def _ordered(cls, mpp: tuple[float, float]) -> tuple[float, float]:
        if mpp[0] > mpp[1]:
            raise ValueError("mpp is a range: the smaller number first")
        return mpp


class Bag(Spec):
    """All slices of a volume are one instance with one label (paper: Supplementary 5).

    Attributes:
        size: See :class:`Whole`.
        axis: The plane of the slices.
        most: Slices a bag at most, spread evenly over the volume; None: all.
        spacing: See :class:`Slices`.
    """

    kind: Literal["bag"] = "bag"
    size: Size = 224
    axis: Axis = "axial"
    most: int | None = Field(None, ge=1)
    spacing: float | None = Field(None, gt=0)


Instances = Annotated[Whole | Slices | Patches | Bag, Field(discriminator="kind")]


class Reference(Spec):
    """A published result of a task, shown beside one's own (paper: Table 1).

    Attributes:
        metric: A metric of the label type, such as ``f1``.
        value: Its value as the metrics give it: 0.903, not 90.3 %.
        setting: What reached it, on how much data.
        source: Where it stands.
        needed: The share of the training data, in (0, 1], with which the model that the source
            is about matched the value, by mode of adaptation (``frozen``, ``finetune``).
    """

    metric: str
    value: float = Field(allow_inf_nan=False)
    setting: str
    source: str
    needed: dict[str, Annotated[float, Field(gt=0, le=1)]] = {}


class TaskSpec(Spec):
    """One task: a dataset, what is learned from it, and how its cases become instances.

    Attributes:
        name: The slug of the plugin (``umedpt-task-<slug>``), or slug-suffix where it has several.
        label_type: The name of a label type, such as ``segmentation``.
        modality: The field's usual name, such as ``MRI``, ``CT``, ``X-ray``, ``microscopy``.
        classes: The names of the classes, in the order of their indices.
        cases: Import string of ``(root: Path | None, split: str, options) -> sequence of Case``.
        fake: Import string of ``(root: Path, seed: int) -> None``: writes a tiny copy of the
            publisher's layout, for tests.
        instances: How a case gives instances.
        intensity: ``uint8`` (0..255), ``dtype`` (full range of the integer type), ``ct``, ``mri``,
            or the import string of a function (array -> float32 array in [0, 1]). The channels of
            a volume are its sequences, each with its own range.
        augmentation: The name of the augmentation profile that suits the data, or ``none``.
        source: Origin, licence and citation.
        suites: Named collections that the task belongs to.
        splits: The publisher's splits out of train, val, test. Empty: the core splits by patient
            and ``cases`` is asked for ``all``.
        options: Import string of a pydantic model of choices that a mix can make.
        label_options: Passed to the label type, which validates them.
        references: Published results, for the report of a benchmark.
    """

    name: Slug
    label_type: Slug
    modality: str
    classes: tuple[str, ...] = Field(min_length=1)
    cases: ImportString
    fake: ImportString
    instances: Instances = Whole()
    intensity: IntensityRule | ImportString = "uint8"
    augmentation: Slug = "standard"
    source: Source
    suites: tuple[str, ...] = ()
    splits: tuple[Literal["train", "val", "test"], ...] = ()
    options: ImportString | None = None
    label_options: dict[str, Any] = {}
    references: tuple[Reference, ...] = ()

    @property
    def all_splits(self) -> tuple[str, ...]:
        """The splits that can be opened: the publisher's, and those that the core makes."""
        made = not self.splits or "test" in self.splits
        return ("train", "val", "test") if made else ("train", "val")

    @field_validator("classes")
    @classmethod
    def _unique(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) != len(classes):
            raise ValueError("class names must be unique")
        return classes

    @field_validator("splits")
    @classmethod
    def _train_first(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        if splits and "train" not in splits:
            raise ValueError("splits must include train, or be empty")
        return splits


class LabelTypeSpec(Spec):
    """One label type (paper: Task types).

    Attributes:
        name: How tasks refer to it.
        summary: One line for listings.
        blocks: The outputs of the shared blocks that its heads use.
        geometry: What augmentation must move together with the image.
        metrics: Names of the metrics that it reports, the headline first.
        factory: Import string of a subclass of :class:`umedpt_core.LabelType`.
        example: Label options to check it with, where it cannot do without any.
    """

    name: Slug
    summary: str = ""
    blocks: tuple[Literal["embedding", "pixels", "pyramid"], ...] = Field(min_length=1)
    geometry: Literal["none", "mask", "boxes", "keypoints"] = "none"
    metrics: tuple[str, ...] = Field(min_length=1)
    factory: ImportString
    example: dict[str, Any] = {}


class AugmentationSpec(Spec):
    """One augmentation profile (paper: Data augmentation).

    Attributes:
        name: How tasks and mixes refer to it.
        summary: One line for listings.
        image: Import string of ``() -> list of albumentations transforms``, applied to each 2D
            instance. The core composes, seeds and checks them.
        volume: Import string of ``() -> list of MONAI dictionary transforms`` for the keys
            ``image`` and, where there is one, ``mask``, applied to a volume when it is loaded.
    """

    name: Slug
    summary: str = ""
    image: ImportString | None = None
    volume: ImportString | None = None

    @field_validator("name")
    @classmethod
    def _not_none(cls, name: str) -> str:
        if name == "none":
            raise ValueError("'none' is how a mix says that it wants no augmentation")
        return name


class NormSpec(Spec):
    """One way of replacing normalization layers (paper: Architecture).

    Attributes:
        name: How mixes refer to it.
        summary: One line for listings.
        swap: Import string of ``(module: nn.Module, channels: int) -> nn.Module | None``; None
            leaves the layer as it is. The core walks the shared blocks and calls it.
    """

    name: Slug
    summary: str = ""
    swap: ImportString


class LoggerSpec(Spec):
    """One logger.

    Attributes:
        name: How it is listed.
        summary: One line for listings.
        open: Import string of ``(run folder: Path) -> logger`` with ``log(event: dict)`` and
            ``close()``. A logger that fails is dropped with a warning; training goes on.
    """

    name: Slug
    summary: str = ""
    open: ImportString


def resolve(string: str) -> Any:
    """Import what an import string names.

    Raises:
        ImportError: The module cannot be imported.
        AttributeError: The module has no such name.
    """
    module, _, path = string.partition(":")
    value: Any = import_module(module)
    for name in path.split("."):
        value = getattr(value, name)
    return value
