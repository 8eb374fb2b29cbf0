"""What a label type is: the part of a task's graph that is not shared (paper: Task types)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from .blocks.shared import Blocks
    from .data.batch import Batch

H = TypeVar("H", bound="nn.Module")

IGNORE = 255
"""The class index of pixels that no loss and no metric looks at."""


def small_head(layer: H) -> H:
    """Initialise a head so that its first outputs are near 0 for any number of classes.

    Args:
        layer: A linear or convolutional layer; changed in place.

    Returns:
        The layer, with weights of standard deviation 0.1 / sqrt(fan in) and biases of 0.
    """
    from torch.nn import init

    fan_in = layer.weight[0].numel()  # type: ignore[index]
    init.normal_(layer.weight, std=0.1 / math.sqrt(fan_in))  # type: ignore[arg-type]
    if layer.bias is not None:
        init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def pick(parts: Sequence[Tensor], chosen: Sequence[int] | None) -> Tensor:
    """What a metric has kept of the chosen images.

    Args:
        parts: What it has kept of each batch; the first dimension is that of the images.
        chosen: See :meth:`Metric.compute`.

    Returns:
        One tensor, in the order of `chosen`.
    """
    import torch

    whole = torch.cat(tuple(parts))
    return whole if chosen is None else whole[torch.as_tensor(chosen)]


class Metric(Protocol):
    """Collects predictions over a split, then computes.

    It keeps what it needs of every image, so that it can be computed over some of them.
    """

    def update(self, prediction: Any, target: Any) -> None:
        """Add a batch.

        Args:
            prediction: What :meth:`LabelType.predict` returned.
            target: The batch's collated target, on the same device.
        """

    def compute(self, chosen: Sequence[int] | None = None) -> dict[str, float]:
        """The metrics by name. ``<name>_baseline`` is what no learning at all would reach.

        Args:
            chosen: The places of images, in the order in which they were added. An image that is
                there twice counts as two. None: all images, once.
        """


class LabelType(ABC):
    """One label type at work for one task. Instances are pickled to the workers of the loader.

    A subclass may take the task's ``label_options`` as further keyword arguments; it raises
    ValueError where one makes no sense.

    Args:
        classes: The names of the task's classes; C is their number.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)

    @abstractmethod
    def head(self, dims: Mapping[str, int]) -> nn.Module:
        """The task's own parameters: a linear layer, or a convolution for dense predictions.

        Args:
            dims: Channels of the shared outputs: ``embedding``, ``pixels``, ``pyramid``.
        """

    @abstractmethod
    def loss(self, head: nn.Module, blocks: Blocks, batch: Batch) -> Tensor:
        """The scalar loss of one batch, about 1 at random initialisation on random inputs."""

    @abstractmethod
    def predict(self, head: nn.Module, blocks: Blocks, x_BCHW: Tensor) -> Any:
        """The prediction for images with values in [0, 1], in the form that the metric takes.

        Args:
            head: What :meth:`head` made.
            blocks: The shared blocks.
            x_BCHW: B x 3 x H x W; where instances are bags, B x N x 3 x H x W, or B bags of one.
        """

    @abstractmethod
    def metric(self) -> Metric:
        """A new, empty metric."""

    @abstractmethod
    def check(self, target: Any, size: tuple[int, int]) -> tuple[Any, int]:
        """Check one raw target against the task's classes and the image's (height, width).

        Returns:
            The target in canonical form, and how many annotations of it were dropped as unusable.

        Raises:
            ValueError: The target does not fit; the message says what is wrong with it.
        """

    @abstractmethod
    def collate(self, targets: Sequence[Any]) -> Any:
        """Make tensors (or a list, or a dict of them) of the checked targets of one batch."""

    @abstractmethod
    def random_target(self, size: tuple[int, int], rng: np.random.Generator) -> Any:
        """A random valid raw target for an image of this (height, width), for tests."""

    @abstractmethod
    def unbatch(self, prediction: Any) -> list[Any]:
        """Split a batch's prediction into what :meth:`draw` takes, one an image."""

    @abstractmethod
    def draw(self, image: NDArray[np.uint8], target: Any) -> NDArray[np.uint8]:
        """Draw a checked target, or one item of :meth:`unbatch`, onto an H x W x 3 image."""

    def classes_in(self, target: Any) -> set[int]:
        """The classes that a checked target shows, as indices into `classes`.

        Small draws of training cases are balanced by them. Background and what is unknown are no
        classes. None, unless a subclass says so.
        """
        return set()

    def row(self, item: Any) -> dict[str, str | float]:
        """One item of :meth:`unbatch` as the columns of a table.

        None, unless a subclass says so: masks, boxes and points become files.
        """
        return {}
