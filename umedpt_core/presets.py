"""The paper's mixes, as a file that names what they train on; the plugins bring everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

PRESETS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
"""``umedpt`` and its variants (paper: Results), each the plain data of a mix."""
