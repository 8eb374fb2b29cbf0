"""Checks of a distribution as a whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from .kit import PLUGIN, Failure, Subject, check

HEAVY = """
PIL SimpleITK albumentations cv2 cucim datasets h5py huggingface_hub imageio jax lightning
matplotlib monai nibabel numpy openslide pandas pydicom pyarrow requests safetensors scipy
segmentation_models_pytorch skimage sklearn tensorboard tensorflow tifffile timm torch
torchmetrics torchvision transformers wandb zarr
"""
LISTING = (
    "import json, sys; from umedpt_core import load_catalogue; load_catalogue(); "
    "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
)


@check(
    PLUGIN,
    "the plugin loads and registers something",
    hint="see 'umedpt plugins'; 'umedpt --strict plugins' shows the traceback",
)
def loads(subject: Subject) -> None:
    """Every entry point is ok, and there is a hook that yields something."""
    for plugin in subject.examination.plugins:
        if plugin.status != "ok":
            raise Failure(f"{plugin.entry_point} is {plugin.status}: {plugin.reason}")
    clashes = any(plugin.clashes for plugin in subject.examination.plugins)
    if len(subject.examination.subjects) == 1 and not clashes:
        raise Failure("no hook yields anything; is one marked with @hookimpl?")


@check(
    PLUGIN,
    "discovery loads nothing heavy",
    hint="move the work, and what it imports, into a second module that import strings name",
    needs=("loads",),
)
def light(subject: Subject) -> None:
    """A process that lists this plugin alone has loaded no heavy package."""
    found = run_python(LISTING, UMEDPT_PLUGINS=subject.examination.distribution)
    if heavy := sorted(set(HEAVY.split()) & set(json.loads(found))):
        raise Failure(f"listing it imports {', '.join(heavy)}")


@check(
    PLUGIN,
    "no other plugin registers its names",
    hint="rename what clashes, or uninstall the other side",
    needs=("loads",),
)
def unique(subject: Subject) -> None:
    """No clash is recorded."""
    if clashes := [clash for plugin in subject.examination.plugins for clash in plugin.clashes]:
        raise Failure("; ".join(clashes))


def run_python(code: str, *arguments: str, **variables: str) -> str:
    """What a new Python process with our path prints.

    Raises:
        Failure: It ended badly.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Failure(f"a process of its own ends with: {lines[-1]}")
    return done.stdout
