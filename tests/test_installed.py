"""What the other tests test: the installed wheels, not the source tree."""

from __future__ import annotations

import os
from importlib.metadata import distributions
from pathlib import Path

import pytest

import umedpt_core

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(
    "UMEDPT_TEST_WHEELS" not in os.environ, reason="only 'make test' installs wheels"
)
def test_the_core_and_every_plugin_come_from_site_packages():
    assert Path(umedpt_core.__file__).parent.parent.name == "site-packages"
    installed = {d.metadata["Name"]: d for d in distributions() if d.files}
    for project in ROOT.glob("plugins/*/*/pyproject.toml"):
        files = installed[project.parent.name].files
        assert any(file.name == "__init__.py" for file in files), project


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    small = ["encoder.name=mobilenetv3_small_050", "epochs=1", "steps_per_epoch=1", "image_size=32"]
    assert 'settings=["epochs=2"]' in code
    exec(code.replace('["epochs=2"]', repr(small)), {})  # noqa: S102
    assert (tmp_path / "runs" / "probe" / "metrics.json").exists()
