"""Predicting new inputs: what is written, where it lies, and that evaluation predicts the same."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from PIL import Image
from pydicom import uid

from umedpt_core import (
    Bag,
    ConfigError,
    FileCase,
    Patches,
    Slices,
    Source,
    TaskSpec,
    UmedptError,
    Whole,
    load_catalogue,
    read_mask,
    write_dicom,
)
from umedpt_core.catalogue import Entry
from umedpt_core.cli import cli
from umedpt_core.data.augment import resize
from umedpt_core.data.batch import Ticket
from umedpt_core.data.loader import Instances
from umedpt_core.data.tasks import TaskData, make_label
from umedpt_core.data.volumes import Volume, read_volume, same_grid, write_volume
from umedpt_core.engine.model import Model, blocks_needed, build_blocks, load_model, save_model
from umedpt_core.errors import Interrupted
from umedpt_core.mix import Architecture
from umedpt_core.use.inputs import _named, find_inputs
from umedpt_core.use.predict import predict

RNG = np.random.default_rng(3)
SHAPES = {"a.png": (70, 50, 3), "grey.jpg": (40, 91), "alpha.png": (64, 64, 4), "t.tif": (33, 70)}
COLOURS = np.array([[0, 0, 0], [230, 159, 0], [86, 180, 233]])


def spec(name: str, label_type: str, classes: tuple[str, ...], **fields: Any) -> TaskSpec:
    source = Source(homepage="https://e.org", licence="MIT", citation="-", access="generated")
    return TaskSpec(
        name=name,
        label_type=label_type,
        classes=classes,
        modality="X-ray",
        cases="nowhere:cases",
        fake="nowhere:fake",
        source=source,
        **({"instances": Whole(size=64)} | fields),
    )


SPECS = {
    each.name: each
    for each in (
        spec("class", "classification", ("no", "yes")),
        spec("deep", "classification", ("no", "yes"), intensity="dtype"),
        spec("labels", "multilabel", ("a", "b", "c")),
        spec("age", "regression", ("years",), label_options={"range": [0, 100]}),
        spec("parts", "segmentation", ("background", "one", "two")),
        spec("cells", "detection", ("red", "white")),
        spec("organ", "segmentation", ("organ",), intensity="ct",
             instances=Slices(size=(64, 64), axis="axial")),
        spec("scan", "bag", ("no", "yes"), intensity="mri", instances=Bag(size=(32, 32), most=4)),
        spec("slide", "classification", ("no", "yes"), instances=Patches(size=64)),
        spec("slice", "classification", ("no", "yes"), instances=Slices(size=64)),
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def catalogue():
    found = load_catalogue()
    for each in SPECS.values():
        found = found.with_task(Entry(each, "umedpt-task-made-up", "1"))
    return found


@pytest.fixture(scope="module")
def model(catalogue, tmp_path_factory) -> str:
    """Untrained, and sure of nothing: detection finds much, masks have all classes."""
    architecture = Architecture.model_validate(
        {"encoder": {"name": "resnet10t"}, "decoders": {"pixels": 8, "pyramid": 8}}
    )
    blocks = build_blocks(catalogue, blocks_needed(catalogue, SPECS), architecture, 0)
    types = {n: catalogue.find("label type", s.label_type).spec for n, s in SPECS.items()}
    made = Model(blocks, {n: make_label(s, types[n]) for n, s in SPECS.items()}, 0)
    with torch.no_grad():
        made.heads["cells"].classes.bias.zero_()
    folder = tmp_path_factory.mktemp("model")
    save_model(made, folder, architecture, {n: s.instances for n, s in SPECS.items()}, catalogue)
    return str(folder)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, shape in SHAPES.items():
        Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(folder / name)
    (folder / ".hidden.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image")
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


OVERLAYS = {f"overlays/{Path(name).stem}.png" for name in SHAPES}


# Images


@pytest.mark.parametrize("task", ["class", "deep", "labels", "age"])
def test_labels_become_a_row_an_image(task, model, images, tmp_path):
    done, failed = predict(model, [images], tmp_path / "out", task=task, quiet=True)
    rows = table(tmp_path / "out" / "predictions.csv")
    assert (done, failed) == (4, {})
    assert [row["id"] for row in rows] == sorted(SHAPES)
    assert [row["input"] for row in rows] == [str(images / name) for name in sorted(SHAPES)]
    assert len(rows[0]) > 2
    assert files(tmp_path / "out") == {"predictions.csv"} | OVERLAYS


def test_masks_have_the_size_of_the_image_and_hold_indices(model, images, tmp_path):
    predict(model, [images], tmp_path, task="parts", quiet=True, batch_size=3)
    for row in table(tmp_path / "masks.csv"):
        mask = read_mask(tmp_path / row["mask"])
        assert mask.shape == SHAPES[row["id"]][:2]
        counts = np.bincount(mask.ravel(), minlength=3)
        assert [int(row[f"pixels_{c}"]) for c in ("background", "one", "two")] == counts.tolist()
        seen = Image.open(tmp_path / row["mask"]).convert("RGB")
        assert (np.asarray(seen) == COLOURS[mask]).all()
    assert files(tmp_path) == {"masks.csv"} | OVERLAYS | {o.replace("overlays", "masks") for o in OVERLAYS}  # fmt: skip # noqa: E501


def test_boxes_are_coco_and_lie_within_their_images(model, images, tmp_path, capsys):
    from faster_coco_eval import COCO

    predict(model, [images], tmp_path, task="cells", quiet=True, overlays=False)
    assert files(tmp_path) == {"boxes.json"}
    boxes = COCO(str(tmp_path / "boxes.json"))
    assert {c["name"] for c in boxes.cats.values()} == {"red", "white"}
    assert {i["file_name"]: (i["height"], i["width"]) for i in boxes.imgs.values()} == {
        name: shape[:2] for name, shape in SHAPES.items()
    }
    for number, image in boxes.imgs.items():
        annotations = boxes.loadAnns(boxes.getAnnIds(imgIds=[number]))
        assert annotations
        x, y, w, h = np.array([a["bbox"] for a in annotations]).T
        assert min(x.min(), y.min()) >= 0
        assert min(w.min(), h.min()) > 0
        assert (x + w).max() <= image["width"] + 1e-9
        assert (y + h).max() <= image["height"] + 1e-9
        assert (x + w).max() > 0.9 * image["width"]
        assert all(0 < a["score"] <= 1 for a in annotations)


@pytest.mark.parametrize("task", ["class", "parts", "cells"])
def test_it_is_what_evaluation_predicts(task, model, catalogue, images, tmp_path):
    predict(model, [images], tmp_path, task=task, quiet=True)
    loaded = load_model(model, catalogue)
    geometry = catalogue.find("label type", SPECS[task].label_type).spec.geometry
    names = sorted(SHAPES)
    some = {"none": 0, "boxes": {"boxes": [], "labels": []}}
    cases = [
        FileCase(name, name, images / name,
                 np.zeros(SHAPES[name][:2], int) if geometry == "mask" else some[geometry])
        for name in names
    ]  # fmt: skip
    data = TaskData(
        task, {"test": cases}, loaded.labels[task], geometry, SPECS[task].instances, "uint8",
        None, None, batch_size=1,
    )  # fmt: skip
    for number, name in enumerate(names):
        batch = Instances({task: data}, 0)[Ticket("test", task, number)].to("cpu")
        with torch.no_grad():
            (item,) = data.label.unbatch(loaded.predict(task, batch.x_BCHW))
        height, width = SHAPES[name][:2]
        if geometry == "none":
            row = table(tmp_path / "predictions.csv")[number]
            for column, value in data.label.row(item).items():
                expected = value if isinstance(value, str) else pytest.approx(value, rel=1e-4)
                assert (row[column] if isinstance(value, str) else float(row[column])) == expected
        elif geometry == "mask":
            mask = read_mask(tmp_path / "masks" / f"{Path(name).stem}.png")
            _, expected = resize(np.empty((*item.shape, 1)), item, (height, width), "mask")
            assert (mask == expected).mean() > 0.999  # rounding may turn a pixel
        else:
            coco = json.loads((tmp_path / "boxes.json").read_text())
            found = [a["bbox"] for a in coco["annotations"] if a["image_id"] == number + 1]
            x0, y0, x1, y1 = (item["boxes"] * np.tile([width, height], 2) / np.tile(batch.x_BCHW.shape[:1:-1], 2)).T  # fmt: skip # noqa: E501
            expected = np.stack([x0, y0, x1 - x0, y1 - y0], 1)
            assert np.abs(np.array(found) - expected).max() < 0.03


def test_neither_batches_nor_threads_change_anything(model, images, tmp_path):
    for number, (batch_size, workers) in enumerate([(1, 1), (4, 3)]):
        out = tmp_path / str(number)
        predict(model, [images], out, task="parts", batch_size=batch_size, workers=workers,
                quiet=True)  # fmt: skip
    one, two = tmp_path / "0", tmp_path / "1"
    assert files(one) == files(two)
    same = [(one / name).read_bytes() == (two / name).read_bytes() for name in files(one)]
    assert sum(same) >= len(same) - 1  # rounding may turn a pixel of an untrained model


# Inputs


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["predict", *map(str, arguments)])


def test_what_cannot_be_used_is_reported_and_the_rest_goes_on(model, images, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand then nothing")
    Image.fromarray(RNG.integers(0, 2**16, (40, 40)).astype(np.uint16)).save(folder / "b16.png")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(folder / "c.png")
    result = run(model, folder, "-o", tmp_path / "out", "--task", "class")
    assert result.exit_code == 1
    first, second, last = result.stderr.splitlines()
    assert first.startswith(f"{folder / 'a broken.png'}: cannot be read as an image")
    assert (
        second == f"{folder / 'b16.png'}: intensity rule 'uint8' got uint16; 'dtype' may be meant"
    )
    assert last == f"Error: 2 of 3 inputs could not be used; the others are in {tmp_path / 'out'}"
    assert [row["id"] for row in table(tmp_path / "out" / "predictions.csv")] == ["c.png"]
    deep = run(model, folder / "b16.png", "-o", tmp_path / "deep", "--task", "deep")
    assert deep.exit_code == 0
    none = run(model, folder / "b16.png", "-o", tmp_path / "none", "--task", "class")
    assert none.exit_code == 1
    assert "none of 1 input(s) could be used" in none.stderr


def test_inputs_of_one_name_do_not_overwrite_each_other(model, tmp_path):
    names = ["one/x.png", "two/x.png", "two/x.jpg", "two/deep/x.png"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (40, 40), np.uint8)).save(tmp_path / "in" / name)
    inputs = [tmp_path / "in" / "two", tmp_path / "in" / "one" / "x.png", tmp_path / "in" / "two"]
    predict(model, inputs, tmp_path / "out", task="parts", quiet=True)
    rows = table(tmp_path / "out" / "masks.csv")
    assert {row["id"] for row in rows} == set(names)
    assert len({row["mask"] for row in rows}) == 4 == len(rows)
    assert all((tmp_path / "out" / row["mask"]).is_file() for row in rows)


@settings(deadline=None, derandomize=True)
@given(
    st.sets(
        st.tuples(
            st.sampled_from(["", "a/", "a.b/"]),
            st.sampled_from(["x", "x.png", "x.nii"]),
            st.sampled_from([".png", ".jpg", ".nii.gz", ".mha"]),
        ),
        min_size=1,
    )
)
def test_no_two_inputs_share_a_place(parts):
    found = _named([Path("/base", "".join(part)) for part in sorted(parts)], Path("/base"))
    assert len({each.place for each in found}) == len({each.id for each in found}) == len(parts)
    assert all(each.id.startswith(each.place) for each in found)


@pytest.mark.parametrize(
    ("task", "error"),
    [
        (None, "has several tasks; choose one with --task: age, cells, class"),
        ("nothing", "has no head for it; it has age, "),
        ("slide", "slides are not predicted yet"),
        ("slice", "only masks and the labels of bags are predicted"),
        ("organ", "holds no volume"),
    ],
)
def test_a_wrong_task_is_an_error_before_anything_is_read(task, error, model, images, tmp_path):
    with pytest.raises(ConfigError, match=error):
        predict(model, [images], tmp_path / "out", task=task)
    assert not (tmp_path / "out").exists()


def test_wrong_models_inputs_and_outputs_are_errors(model, images, tmp_path):
    with pytest.raises(ConfigError, match="has no heads; train one with 'umedpt adapt timm:x TASK"):
        predict("timm:x", [images], tmp_path / "out")
    with pytest.raises(ConfigError, match="no model at"):
        predict(str(tmp_path), [images], tmp_path / "out")
    with pytest.raises(ConfigError, match="no such file or folder"):
        predict(model, [images / "missing.png"], tmp_path / "out", task="class")
    with pytest.raises(ConfigError, match="not empty"):
        predict(model, [images], images, task="class")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no image"):
        predict(model, [tmp_path / "empty"], tmp_path / "out", task="class")


def test_a_stop_keeps_what_is_done(model, images, tmp_path, monkeypatch):
    calls = iter(range(9))
    whole = Model.predict

    def stopped(self, *arguments):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    monkeypatch.setattr(Model, "predict", stopped)
    with pytest.raises(Interrupted, match=r"stopped: \d of 4 are in"):
        predict(model, [images], tmp_path, task="parts", batch_size=1, workers=1, quiet=True)
    rows = table(tmp_path / "masks.csv")
    assert 1 <= len(rows) <= 3
    assert all((tmp_path / row["mask"]).is_file() for row in rows)
    assert not [name for name in files(tmp_path) if ".writing" in name]


def test_a_full_disk_is_one_line(model, images, tmp_path, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UmedptError, match=r"cannot write to .*No space left"):
        predict(model, [images], tmp_path, task="class", quiet=True)


# Volumes

SHAPE = (5, 64, 64)
TURN = np.eye(4)
TURN[:3, :3] = [[0.9553, -0.2955, 0], [0.2955, 0.9553, 0], [0, 0, 1]]
AFFINE = np.array([[0, 0, -0.7, 80], [0, -0.8, 0, 12.5], [-3, 0, 0, 40], [0, 0, 0, 1]], float)


@pytest.fixture
def thresholded(monkeypatch):
    """Voxels that are brighter than the middle are the organ, whatever the model says."""
    from umedpt_label_segmentation.head import Segmentation

    monkeypatch.setattr(
        Segmentation, "predict", lambda self, head, blocks, x: (x.mean(1) > 0.5).long()
    )


def scan(affine: np.ndarray = AFFINE) -> Volume:
    voxels = np.random.default_rng(1).choice([-500, 700], SHAPE, p=(0.8, 0.2)).astype(np.int16)
    return Volume(voxels, affine)


def write_nifti(path: Path, volume: Volume, codes: str) -> Path:
    turns = ornt_transform(io_orientation(volume.affine), axcodes2ornt(codes))
    affine = volume.affine @ inv_ornt_aff(turns, SHAPE)
    nibabel.save(nibabel.Nifti1Image(apply_orientation(volume.voxels, turns), affine), path)
    return path


def write_series(folder: Path, volume: Volume) -> Path:
    folder.mkdir(parents=True)
    lps = np.diag([-1, -1, 1, 1]) @ volume.affine
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    series = uid.generate_uid(entropy_srcs=[str(folder)])
    directions = np.concatenate([lps[:3, 2] / edges[2], lps[:3, 1] / edges[1]])
    for number, pixels in enumerate(volume.voxels):
        write_dicom(
            folder / f"slice {number * 7 % 11}",
            pixels,
            SOPClassUID=uid.CTImageStorage,
            SeriesInstanceUID=series,
            PixelSpacing=edges[1:].tolist(),
            SliceThickness=float(edges[0]),
            ImageOrientationPatient=directions.round(9).tolist(),
            ImagePositionPatient=(lps @ [number, 0, 0, 1])[:3].round(6).tolist(),
        )
    return folder


@pytest.mark.parametrize("codes", ["RAS", "LPS", "IPL", "ASR", "SLP"])
@pytest.mark.parametrize("affine", [AFFINE, TURN @ AFFINE], ids=["straight", "oblique"])
def test_a_mask_lies_on_its_nifti_voxel_on_voxel(codes, affine, model, thresholded, tmp_path):
    source = write_nifti(tmp_path / "v.nii.gz", scan(affine), codes)
    predict(model, [source], tmp_path / "out", task="organ", quiet=True)
    image, mask = nibabel.load(source), nibabel.load(tmp_path / "out" / "masks" / "v.nii.gz")
    assert mask.shape == image.shape
    assert mask.get_data_dtype() == np.uint8
    assert (mask.affine == image.affine).all()
    for key in ("qform_code", "sform_code", "xyzt_units"):
        assert mask.header[key] == image.header[key]
    assert (np.asarray(mask.dataobj) == (np.asarray(image.dataobj) > 0)).all()
    (row,) = table(tmp_path / "out" / "masks.csv")
    organ = (scan().voxels > 0).sum()
    assert float(row["mm3_organ"]) == pytest.approx(organ * 0.7 * 0.8 * 3, rel=1e-4)
    with Image.open(tmp_path / "out" / "overlays" / "v.png") as overlay:
        assert 256 <= max(overlay.size) <= 1024


def test_a_place_that_only_quaternions_tell_is_kept_to_the_bit(model, thresholded, tmp_path):
    image = nibabel.load(write_nifti(tmp_path / "w.nii", scan(TURN @ AFFINE), "LAS"))
    image.set_sform(None, 0)
    image.set_qform(image.get_qform(), 1)
    nibabel.save(image, tmp_path / "v.nii")
    predict(model, [tmp_path / "v.nii"], tmp_path / "out", task="organ", quiet=True)
    mask = nibabel.load(tmp_path / "out" / "masks" / "v.nii.gz")
    assert (mask.affine == nibabel.load(tmp_path / "v.nii").affine).all()
    assert int(mask.header["sform_code"]) == 0


@pytest.mark.parametrize("affine", [AFFINE, TURN @ AFFINE], ids=["straight", "oblique"])
def test_masks_of_series_and_meta_images_lie_on_them(affine, model, thresholded, tmp_path):
    folder = tmp_path / "in"
    series = write_series(folder / "patient.1" / "1.2.840", scan(affine))
    write_volume(tmp_path / "v.nii.gz", scan(affine).voxels, scan(affine))
    meta = folder / "v.mha"
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "v.nii.gz")), str(meta))
    done, failed = predict(model, [folder], tmp_path / "out", task="organ", quiet=True)
    assert (done, failed) == (2, {})
    places = {series: "patient.1/1.2.840", meta: "v"}
    for source, place in places.items():
        image, mask = read_volume(source), tmp_path / "out" / "masks" / f"{place}.nii.gz"
        found = read_volume(mask)
        assert same_grid(image, found) == ""
        assert (found.voxels == (image.voxels > 0)).all()
    stored = sitk.ReadImage(str(meta)), sitk.ReadImage(str(tmp_path / "out" / "masks" / "v.nii.gz"))
    assert stored[0].GetSize() == stored[1].GetSize()
    np.testing.assert_allclose(stored[0].GetOrigin(), stored[1].GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(stored[0].GetDirection(), stored[1].GetDirection(), atol=1e-5)


def test_a_series_given_as_the_input_is_one_case_with_its_own_name(model, thresholded, tmp_path):
    series = write_series(tmp_path / "CT 1", scan())
    predict(model, [series], tmp_path / "out", task="organ", quiet=True, overlays=False)
    assert files(tmp_path / "out") == {"masks.csv", "masks/CT 1.nii.gz"}


def test_the_list_of_a_disc_of_series_is_no_series(tmp_path):
    series = write_series(tmp_path / "disc" / "CT 1", scan())
    (tmp_path / "disc" / "DICOMDIR").write_bytes((series / "slice 0").read_bytes())
    assert [found.path for found in find_inputs([tmp_path], volumes=True)] == [series]


def test_a_volume_as_one_bag_is_a_row(model, tmp_path):
    write_nifti(tmp_path / "in.nii.gz", scan(), "RAS")
    (tmp_path / "broken.nii.gz").write_bytes(b"none")
    result = run(model, tmp_path / "in.nii.gz", tmp_path / "broken.nii.gz", "-o",
                 tmp_path / "out", "--task", "scan")  # fmt: skip
    assert result.exit_code == 1
    assert "broken.nii.gz: cannot be read" in result.stderr
    (row,) = table(tmp_path / "out" / "predictions.csv")
    assert row["id"] == "in.nii.gz"
    assert files(tmp_path / "out") == {"predictions.csv", "overlays/in.png"}


# Real data


@pytest.mark.skipif("UMEDPT_TEST_DATA" not in os.environ, reason="UMEDPT_TEST_DATA is not set")
def test_real_inputs(model, tmp_path):
    root = Path(os.environ["UMEDPT_TEST_DATA"])
    image = min((root / "pneumonia").rglob("train/*/*.jpeg"))
    predict(model, [image], tmp_path / "x-ray", task="class", quiet=True)
    assert len(table(tmp_path / "x-ray" / "predictions.csv")) == 1
    volume = min((root / "msd" / "Task04_Hippocampus" / "imagesTr").glob("h*.nii.gz"))
    predict(model, [volume], tmp_path / "mri", task="organ", quiet=True)
    mask, source = nibabel.load(tmp_path / "mri" / "masks" / volume.name), nibabel.load(volume)
    assert mask.shape == source.shape
    assert (mask.affine == source.affine).all()
