"""Drawing the dots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

EDGE, RADIUS = 64, 4


class Options(BaseModel):
    """What a mix can choose.

    Attributes:
        cases: Number of cases, of which 70 % train.
    """

    model_config = ConfigDict(extra="forbid")
    cases: int = Field(600, ge=10)


@dataclass(frozen=True, slots=True)
class DotsCase:
    """An image, drawn when it is looked at.

    Attributes:
        number: Decides everything in it.
    """

    number: int

    @property
    def id(self) -> str:
        """Unique within the task."""
        return str(self.number)

    @property
    def patient(self) -> str:
        """Every image is a patient of its own."""
        return self.id

    @property
    def image(self) -> np.ndarray:
        """64 x 64 x 3, uint8."""
        return draw_dots(self.number)[0]

    @property
    def target(self) -> dict[str, np.ndarray]:
        """The centers and which dots they are of."""
        _, centers, colours = draw_dots(self.number)
        return {"keypoints": centers, "labels": colours}


def draw_dots(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one to three dots of different colours on a dark, noisy ground, one in each third.

    Returns:
        Image, centers N x 2 (x, y), colours N (0 red, 1 green, 2 blue).
    """
    rng = np.random.default_rng(seed)
    image = rng.normal(60, 8, (EDGE, EDGE, 3))
    y, x = np.mgrid[:EDGE, :EDGE]
    colours = rng.permutation(3)[: rng.choice([1, 2, 3, 3, 3])]
    thirds = rng.permutation(3)[: len(colours)]
    margin, third = RADIUS + 1, EDGE // 3
    centers = np.stack(
        [
            thirds * third + rng.integers(margin, third - margin, len(colours)),
            rng.integers(margin, EDGE - margin, len(colours)),
        ],
        axis=1,
    )
    for center, colour in zip(centers, colours, strict=True):
        image[np.hypot(x - center[0], y - center[1]) <= RADIUS, colour] += 150
    return image.clip(0, 255).astype(np.uint8), centers.astype(np.float32), colours


def open_cases(root: Path | None, split: str, options: Options) -> list[DotsCase]:
    """All images; the core splits them."""
    return [DotsCase(number) for number in range(options.cases)]


def make_fake(root: Path, seed: int) -> None:
    """Nothing to write: there is no layout on disk."""
