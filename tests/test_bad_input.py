"""`umedpt data check` finds every broken case of a folder in one go, and preview shows it."""

from __future__ import annotations

import json
import locale
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

WARD = """
from functools import partial
from umedpt_core import Patches, Slices, SlideCase, VolumeCase, read_volume

def volumes(root, split, options):
    return [
        VolumeCase(p.name, p.name, (p,), partial(read_volume, root / "masks" / mask_of(p)))
        for p in sorted((root / "images").iterdir())
    ]

def mask_of(path): return path.name if path.name.endswith(".nii.gz") else path.name + ".nii.gz"

def slides(root, split, options):
    return [SlideCase(p.name, p.name, p, 0) for p in sorted((root / "slides").iterdir())]

@hookimpl
def umedpt_tasks():
    yield task(
        "ward", label_type="segmentation", classes=("background", "lesion"), splits=("train",),
        cases="umedpt_task_ward:volumes", intensity="mri", augmentation="tomography",
        instances=Slices(size=(32, 32), axis="axial", per_case=4),
    )
    yield task(
        "ward-slides", classes=("one", "two"), splits=("train",), augmentation="histology",
        cases="umedpt_task_ward:slides", instances=Patches(size=(64, 64)),
    )
"""
SHAPE = (24, 20, 18)
HEALTHY = "healthy"


def write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)


def write_series(folder: Path, uids: tuple[str, ...], voxels: np.ndarray) -> None:
    folder.mkdir(parents=True)
    before = locale.setlocale(locale.LC_ALL)  # writing changes it
    for uid in uids:
        for number, plane in enumerate(voxels.transpose(2, 1, 0).astype(np.int16)):
            image = SimpleITK.GetImageFromArray(plane)
            tags = {
                "0008|0060": "MR",
                "0020|000e": uid,
                "0020|0032": f"0\\0\\{number}",
                "0020|0037": "1\\0\\0\\0\\1\\0",
                "0028|0030": "1\\1",
            }
            for tag, value in tags.items():
                image.SetMetaData(tag, value)
            writer = SimpleITK.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetFileName(str(folder / f"{uid}-{number}.dcm"))
            writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)


def write_slide(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path, pixels, tile=(128, 128), photometric="rgb", compression="zlib", metadata=None,
        resolution=(20_000, 20_000), resolutionunit="CENTIMETER",
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("Kläranlage mit Ä und Leerzeichen")
    rng = np.random.default_rng(0)
    image = rng.normal(100, 20, SHAPE).astype(np.float32)
    mask = np.zeros(SHAPE, np.uint8)
    mask[8:14, 6:12, 5:10] = 1
    moved = np.eye(4)
    moved[0, 3] = 5
    shifted = {"mask-elsewhere": (image, mask, moved)}
    pairs: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]] = {
        f"{HEALTHY} ü": (image, mask, None),
        "truncated": (image, mask, None),
        "header": (image, mask, None),
        "nan": (np.where(mask, np.nan, image).astype(np.float32), mask, None),
        "mask-shape": (image, mask[1:], None),
        "mask-empty": (image, mask * 0, None),
        "thin": (image[:3], mask[:3], None),
        "constant": (image * 0 + 7, mask, None),
        **shifted,
    }
    for name, (voxels, target, affine) in pairs.items():
        write_nifti(root / "images" / f"{name}.nii.gz", voxels)
        write_nifti(root / "masks" / f"{name}.nii.gz", target, affine)
    packed = root / "images" / "truncated.nii.gz"
    packed.write_bytes(packed.read_bytes()[:-2000])
    (root / "images" / "header.nii.gz").write_bytes(b"this is no volume" * 50)
    write_series(root / "images" / "two-series", ("1.2.1", "1.2.2"), image)
    write_series(root / "images" / "one-series", ("1.2.3",), image)
    dicom = np.diag([-1.0, -1, 1, 1])
    for name in ("two-series", "one-series"):
        write_nifti(root / "masks" / f"{name}.nii.gz", mask, dicom)
    tissue = np.full((512, 512, 3), 240, np.uint8)
    tissue[100:400, 100:400] = (190, 80, 150)
    write_slide(root / "slides" / f"{HEALTHY} ü.tiff", tissue)
    write_slide(root / "slides" / "blank.tiff", np.full((512, 512, 3), 240, np.uint8))
    (root / "slides" / "notes.tiff").write_text("a slide was here")
    return root


PROBLEMS = {
    "ward": {
        "truncated.nii.gz": "truncated",
        "header.nii.gz": "",
        "nan.nii.gz": "NaN or infinite",
        "mask-shape.nii.gz": "the mask does not lie on the image",
        "mask-elsewhere.nii.gz": "the mask does not lie on the image",
        "thin.nii.gz": "too thin for axial slices",
        "constant.nii.gz": "every voxel is 7.0",
        "two-series": "2 series",
    },
    "ward-slides": {"blank.tiff": "no tissue found", "notes.tiff": "slide"},
}


@pytest.mark.parametrize(("task", "workers"), [("ward", 2), ("ward-slides", 0)])
def test_all_that_is_broken_is_found_in_one_go(site, root, task, workers):
    site.add("umedpt-task-ward", WARD)
    words = ("data", "check", task, "--root", str(root), "--workers", str(workers))
    done = site.run(*words, "--json")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    report = json.loads(done.stdout)
    found = {row["case"]: row for row in report["findings"]}
    broken = {name: row["problem"] for name, row in found.items() if row["broken"]}
    assert broken.keys() == PROBLEMS[task].keys()
    for name, text in PROBLEMS[task].items():
        assert text in broken[name], broken[name]
        assert "\n" not in broken[name]
        assert len(broken[name]) > 20
    remarks = {name: row["problem"] for name, row in found.items() if not row["broken"]}
    assert remarks.keys() == ({"mask-empty.nii.gz"} if task == "ward" else set())


def test_the_table_fits_a_terminal_and_the_healthy_pass(site, root):
    site.add("umedpt-task-ward", WARD)
    words = ("data", "check", "ward", "--root", str(root), "--workers", "0")
    done = site.run(*words, env={"COLUMNS": "80"})
    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.splitlines()[-1] == "ward: 11 cases, 8 broken, 1 to look at"
    assert HEALTHY not in done.stdout


def test_a_case_that_kills_its_process_is_found_and_the_others_are_checked(site, root):
    killing = WARD.replace(
        "def mask_of(path):",
        'def mask_of(path):\n    import os\n    if "nan" in path.name and os.environ.get("DIE"):\n'
        "        return Deadly()\n    return name_of(path)\n\n"
        "class Deadly(str):\n    pass\n\ndef name_of(path):",
    )
    killing = killing.replace("partial(read_volume, root", "partial(read, root").replace(
        "def volumes(",
        "def read(path):\n    import os\n"
        '    if "nan" in path.name: os.kill(os.getpid(), 9)\n    return read_volume(path)\n\n'
        "def volumes(",
    )
    site.add("umedpt-task-ward", killing)
    done = site.run("data", "check", "ward", "--root", str(root), "--workers", "2", "--json")
    found = {row["case"]: row for row in json.loads(done.stdout)["findings"] if row["broken"]}
    assert found.keys() == PROBLEMS["ward"].keys()


def test_a_preview_is_a_picture_and_a_bad_name_for_it_one_line(site, root, tmp_path):
    site.add("umedpt-task-ward", WARD)
    words = ("data", "preview", "ward", "--root", str(root), "--cases", "3", "--instances", "2")
    done = site.run(*words, "-o", str(tmp_path / "sheet.png"))
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height == 3 * (192 + 16 + 4)
    done = site.run(*words, "-o", str(tmp_path / "sheet.doc"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
