"""The paper's mixes, as files that name what they train on; the plugins bring everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
"""``umedpt`` and its variants (paper: Results; Pretraining tasks)."""


def load_preset(name: str) -> dict[str, Any]:
    """The plain data of a preset, for :meth:`umedpt_core.Mix.compose`.

    Args:
        name: One of `NAMES`.
    """
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return content
