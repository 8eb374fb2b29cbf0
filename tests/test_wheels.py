"""A task's wheel, installed alone, is enough to list, check and train it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from umedpt_core.specs import resolve

BRATS_NEEDS = {
    *("umedpt-core", "umedpt-task-brats", "umedpt-label-segmentation"),
    *("umedpt-augment-tomography", "umedpt-augment-standard", "umedpt-norm-layernorm"),
}


@pytest.mark.skipif(
    "UMEDPT_TEST_WHEELS" not in os.environ, reason="only 'make test' builds the wheels"
)
def test_one_task_from_a_wheelhouse(tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    # The heavy third-party packages lie in a layer below: everything here but our own.
    layer = tmp_path / "layer"
    layer.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith(("umedpt", "pip", "__pycache__")):
            (layer / package.name).symlink_to(package)
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    (Path(site.strip()) / "layer.pth").write_text(f"{layer}\n")
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}

    def run(*words: object) -> str:
        done = subprocess.run(
            [str(word) for word in words],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # Python 3.11's venv brings an old setuptools, which would hide the layer's.
    run(python, "-m", "pip", "uninstall", "--yes", "setuptools")
    wheels = Path(os.environ["UMEDPT_TEST_WHEELS"]).absolute()
    run(python, "-m", "pip", "install", "--no-index", "--find-links", wheels, "umedpt-task-brats")
    umedpt = python.with_name("umedpt")
    plugins = json.loads(run(umedpt, "plugins", "--json"))
    assert {plugin["distribution"] for plugin in plugins} == BRATS_NEEDS - {"umedpt-core"}
    assert {plugin["status"] for plugin in plugins} == {"ok"}
    assert [task["name"] for task in json.loads(run(umedpt, "tasks", "--json"))] == ["brats"]
    run(umedpt, "check", "umedpt-task-brats")  # exits with 1 where a check fails
    (tmp_path / "brats").mkdir()
    resolve("umedpt_task_brats.data:make_fake")(tmp_path / "brats", 0)
    settings = ("encoder.name=mobilenetv3_small_050", "epochs=1", "steps_per_epoch=1",
                "image_size=64")  # fmt: skip
    run(
        umedpt,
        "mix",
        "new",
        "brats",
        "-o",
        "mix.yaml",
        *(w for s in settings for w in ("--set", s)),
    )
    run(umedpt, "pretrain", "mix.yaml", "--output", "run", "--data-root", tmp_path, "--workers", 0)
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert sys.prefix not in run(python, "-c", "import umedpt_core; print(umedpt_core.__file__)")
