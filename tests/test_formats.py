"""The readers that task plugins share: against independent encoders, and on defects."""

from __future__ import annotations

import json
import pickle
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from faster_coco_eval.core import mask as coco_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from umedpt_core import (
    Coco,
    DataError,
    LoadedCase,
    boxes_of_instances,
    class_folders,
    decode_rle,
    read_dicom_image,
    read_table,
    read_voc,
    write_dicom,
)

MAPS = arrays(
    np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)
)
MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


# Folders


def test_class_folders(tmp_path):
    for name in ("b/2.PNG", "b/1.png", "b/.hidden.png", "b/notes.txt", "a/x/3.png", "a/.x/4.png"):
        touch(tmp_path / name)
    (tmp_path / "a" / "0.png").touch()
    names = {"b": 1, "a": 0}
    found = class_folders(tmp_path, names, suffixes=[".png"])
    assert [(path.name, index) for path, index in found] == [
        ("1.png", 1),
        ("2.PNG", 1),
        ("0.png", 0),
    ]
    nested = class_folders(tmp_path, names, suffixes=[".png"], nested=True)
    assert [path.name for path, index in nested if index == 0] == ["0.png", "3.png"]


def test_class_folders_that_are_missing_or_empty(tmp_path):
    touch(tmp_path / "a" / "x" / "1.png")
    with pytest.raises(DataError, match=r"a: no \*\.png or \*\.tif here"):
        class_folders(tmp_path, {"a": 0}, suffixes=[".png", ".tif"])
    for nested in (False, True):
        with pytest.raises(FileNotFoundError) as caught:
            class_folders(tmp_path, {"a": 0, "b": 1}, suffixes=[".png"], nested=True)
        assert caught.value.filename == str(tmp_path / "b"), nested


# Tables


def test_table_with_a_byte_order_mark_blanks_and_short_rows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffid, "label, all" ,note\r\n 1 ,"a, b"\r\n\r\n2,é,x,more\r\n'.encode())
    with pytest.raises(DataError, match=r"t\.csv: no column 'label, all'"):
        read_table(path, ["label, all"])  # a quote after a blank is no quote
    path.write_bytes('\ufeffid, label ,note\r\n 1 ,"a, b"\r\n\r\n2,é,x,more\r\n'.encode())
    assert read_table(path, ["id", "label"]) == [
        {"id": "1", "label": "a, b", "note": ""},
        {"id": "2", "label": "é", "note": "x"},
    ]


def test_tables_that_cannot_be_used(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(FileNotFoundError) as caught:
        read_table(path, ["id"])
    assert caught.value.filename == str(path)
    path.write_text("ident;label\n1;2\n")
    with pytest.raises(DataError, match=r"t\.csv: no column 'id'.* the columns ident, label"):
        read_table(path, ["label", "id"], delimiter=";")
    path.write_text("")
    with pytest.raises(DataError, match="no column 'id'"):
        read_table(path, ["id"])
    path.write_bytes("id\né\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"t\.csv: cannot be read as a CSV in UTF-8"):
        read_table(path, ["id"])


# Boxes of instances


@settings(deadline=None)
@given(MAPS, st.data())
def test_boxes_of_instances(ids, data):
    classes = data.draw(arrays(np.int64, ids.shape, elements=st.integers(0, 3)))
    found = boxes_of_instances(ids, classes)
    assert (found["boxes"].dtype, found["labels"].dtype) == (np.float32, np.int64)
    there = sorted(set(ids.ravel().tolist()) - {0})
    assert found["boxes"].shape == (len(there), 4)
    for number, box, label in zip(there, found["boxes"].astype(int), found["labels"], strict=True):
        x0, y0, x1, y1 = box
        part = ids == number
        assert part[y0:y1, x0:x1].sum() == part.sum()
        edges = part[y0], part[y1 - 1], part[:, x0], part[:, x1 - 1]
        assert all(edge.any() for edge in edges)
        counts = [int((classes[part] == kind).sum()) for kind in range(4)]
        assert label == counts.index(max(counts))
    by_id = boxes_of_instances(ids.astype(np.float64), {number: 7 - number for number in range(5)})
    assert by_id["labels"].tolist() == [7 - number for number in there]
    assert not boxes_of_instances(ids)["labels"].any()


def test_instances_that_cannot_be_used():
    ids = np.array([[0, 3, 5]])
    with pytest.raises(DataError, match="instance 5 has no class"):
        boxes_of_instances(ids, {3: 0})
    with pytest.raises(DataError, match=r"classes is \(3, 1\), that of instances \(1, 3\)"):
        boxes_of_instances(ids, ids.T)
    with pytest.raises(DataError, match=r"H x W, this has the shape \(1, 3, 1\)"):
        boxes_of_instances(ids[..., None])


# Run-length codes


def encode(mask: np.ndarray, order: str, first: int, relative: bool) -> str:
    """Written from the words of the format: starts and lengths of runs of ones."""
    numbers, at, end = [], 0, 0
    for value, run in groupby(mask.ravel(order).tolist()):
        length = len(list(run))
        if value:
            numbers += [at - end + (0 if relative and numbers else first), length]
            end = at + length if relative else 0
        at += length
    return " ".join(map(str, numbers))


@settings(deadline=None)
@given(MASKS, st.sampled_from("CF"), st.booleans(), st.booleans())
def test_rle(mask, order, one_based, relative):
    code = encode(mask, order, int(one_based), relative)
    found = decode_rle(code, mask.shape, order=order, one_based=one_based, relative=relative)
    assert found.dtype == np.uint8
    assert (found == mask).all()


@pytest.mark.parametrize(
    ("code", "rows"),
    [("", [0, 0]), (" -1 ", [0, 0]), ("1 2 1 3", [2, 1]), ("1 1 2 1", [1, 1]), ("4 1", [0, 1])],
)
def test_rle_without_runs_and_with_runs_that_overlap(code, rows):
    assert decode_rle(code, (2, 2)).sum(axis=1).tolist() == rows


@pytest.mark.parametrize("code", ["1", "1 x", "1 2 3", "0 2", "4 2", "2 -1", "1.5 2", "9" * 30])
def test_rle_that_is_none(code):
    with pytest.raises(DataError, match="run-length code"):
        decode_rle(code, (2, 2))


# VOC


def test_voc(tmp_path):
    path = tmp_path / "a.xml"
    corners = "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    objects = [
        f"<object><name>cell</name><bndbox>{corners.format(*at)}</bndbox></object>"
        for at in ((1, 1, 64, 48), (5, 6, 5, 6))
    ]
    path.write_text(f"<annotation>{''.join(objects)}</annotation>")
    found = read_voc(path, {"cell": 3})
    assert found["boxes"].tolist() == [[0, 0, 64, 48], [4, 5, 4, 5]]
    assert found["labels"].tolist() == [3, 3]
    for classes, text, message in (
        ({"dust": 0}, path.read_text(), "unknown class 'cell'; known are dust"),
        ({"cell": 0}, "<annotation>", "cannot be read as a VOC annotation"),
        ({"cell": 0}, '<!DOCTYPE a [<!ENTITY e "e">]><a/>', "cannot be read as a VOC annotation"),
        ({"cell": 0}, "<a><object><name>cell</name></object></a>", "cannot be read as a VOC"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=rf"a\.xml: {message}"):
            read_voc(path, classes)
    path.write_text("<annotation></annotation>")
    assert read_voc(path, {})["boxes"].shape == (0, 4)
    with pytest.raises(DataError, match=r"b\.xml: no such file"):
        read_voc(tmp_path / "b.xml", {})


# COCO

INDEX = {2: 5, 90: 6}


def coco(path: Path, *annotations: dict[str, Any], size: tuple[int, int] = (20, 30)) -> Coco:
    content = {
        "images": [{"id": 7, "file_name": "7.jpg", "height": size[0], "width": size[1]}],
        "categories": [{"id": 90, "name": "cup"}, {"id": 2, "name": "cat"}],
        "annotations": [{"image_id": 7, "category_id": 2, **item} for item in annotations],
    }
    path.write_text(json.dumps(content))
    return Coco(path)


def ring(*points: float, **more: Any) -> dict[str, Any]:
    low, high = np.reshape(points, (-1, 2)).min(axis=0), np.reshape(points, (-1, 2)).max(axis=0)
    return {"segmentation": [list(points)], "bbox": np.hstack([low, high - low]).tolist(), **more}


def test_coco(tmp_path):
    runs = {"counts": [0, 100, 500], "size": [20, 30]}
    found = coco(
        tmp_path / "c.json",
        ring(2, 2, 4, 2, 4, 4, 2, 4, category_id=90),
        ring(1, 1, 9, 1, 9, 6, 1, 6),
        {"segmentation": runs, "bbox": [0, 0, 5, 20], "iscrowd": 1},
    )
    (image,) = found.images
    assert (image.id, image.file_name, image.width, image.height) == (7, "7.jpg", 30, 20)
    assert found.crowds == 1
    assert list(found.categories.items()) == [(2, "cat"), (90, "cup")]
    target = found.boxes(7, INDEX)
    assert target["boxes"].tolist() == [[2, 2, 4, 4], [1, 1, 9, 6]]
    assert target["labels"].tolist() == [6, 5]
    expected = np.full((20, 30), 9)
    expected[:, :5] = 255
    expected[1:6, 1:9] = 5
    expected[2:4, 2:4] = 6
    assert (found.mask(7, INDEX, background=9) == expected).all()
    case = pickle.dumps(LoadedCase("7", "7", partial(np.zeros, (20, 30)), partial(found.mask, 7)))
    assert len(case) < 1000
    assert (pickle.loads(case).label(INDEX, background=9) == expected).all()  # noqa: S301
    assert found.boxes(8, INDEX)["boxes"].shape == (0, 4)


@settings(deadline=None)
@given(mask=MASKS)
def test_coco_compressed_runs(tmp_path_factory, mask):
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    code = {"size": list(mask.shape), "counts": code["counts"].decode()}
    path = tmp_path_factory.getbasetemp() / "runs.json"
    found = coco(path, {"segmentation": code, "bbox": [0, 0, 1, 1]}, size=mask.shape)
    assert (found.mask(7, {2: 1}) == mask).all()


def test_coco_long_runs_and_polygons_are_as_of_its_own_library(tmp_path):
    rng = np.random.default_rng(0)
    shape = (300, 400)
    mask = np.zeros(shape, np.uint8)
    mask[17:250, 30:390] = 1
    mask[100:120, ::7] = 0
    code = coco_mask.encode(np.asfortranarray(mask))
    code = {"size": list(shape), "counts": code["counts"].decode()}
    found = coco(tmp_path / "c.json", {"segmentation": code, "bbox": [0, 0, 1, 1]}, size=shape)
    assert (found.mask(7, {2: 1}) == mask).all()
    for radius, least in ((5, 0.93), (30, 0.985), (250, 0.995)):  # the last leads out of the image
        overlaps, areas = [], []
        for _ in range(20):
            angle = np.sort(rng.uniform(0, 2 * np.pi, 12))
            away = radius * rng.uniform(0.5, 1, 12)
            points = np.stack([200 + np.cos(angle) * away, 150 + np.sin(angle) * away], 1)
            flat = points.ravel().tolist()
            theirs = coco_mask.decode(coco_mask.frPyObjects([flat], *shape))[..., 0]
            ours = coco(tmp_path / "c.json", ring(*flat), size=shape).mask(7, {2: 1})
            overlaps.append((ours & theirs).sum() / (ours | theirs).sum())
            areas.append(ours.sum() / theirs.sum())
        assert np.mean(overlaps) > least
        assert abs(np.mean(areas) - 1) < 0.02


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"image_id": 8, "bbox": [0, 0, 1, 1]}, "annotations.0: there is no image 8"),
        ({}, "annotations.0.bbox: Field required"),
        ({"bbox": [0, 1]}, "annotations.0.bbox.2: Field required"),
        ({"bbox": [0, 0, 1, 1], "segmentation": [[1, 2, 3]]}, "annotations.0.segmentation: Value"),
        ({"bbox": [0, 0, 1, 1]}, "image 7: no mask .an annotation without segmentation"),
        (ring(0, 0, 1, 1, category_id=91), "annotations.0: there is no category 91"),
        ({"bbox": [0, 0, 1, 1], "segmentation": {"counts": [9], "size": [3, 3]}}, "7: no mask"),
        ({"bbox": [0, 0, 1, 1], "segmentation": {"counts": [9], "size": [20, 30]}}, "7: no mask"),
        ({"bbox": [0, 0, 1, 1], "segmentation": {"counts": "~", "size": [20, 30]}}, "7: no mask"),
    ],
)
def test_coco_that_cannot_be_used(tmp_path, item, message):
    with pytest.raises(DataError, match=rf"c\.json: .*{message}"):
        coco(tmp_path / "c.json", item).mask(7, INDEX)


def test_coco_that_is_none(tmp_path):
    path = tmp_path / "c.json"
    with pytest.raises(FileNotFoundError):
        Coco(path)
    for text, message in (("[]", "no JSON of COCO"), ("{", "cannot"), ("{}", ".* images, ann")):
        path.write_text(text)
        with pytest.raises(DataError, match=rf"c\.json: {message}"):
            Coco(path)


# DICOM

STORED = np.arange(1200, dtype=np.uint16).reshape(30, 40)


@pytest.mark.parametrize("compression", [None, "rle", "jpeg2000"])
@pytest.mark.parametrize(
    ("tags", "expected", "dtype"),
    [
        ({}, STORED, np.int16),
        ({"PhotometricInterpretation": "MONOCHROME1"}, 1199 - STORED, np.int16),
        ({"RescaleSlope": 2, "RescaleIntercept": -1024}, 2.0 * STORED - 1024, np.int16),
        ({"RescaleSlope": 0.5, "RescaleIntercept": 0}, 0.5 * STORED, np.float32),
        ({"WindowCenter": 500, "WindowWidth": 10}, STORED, np.int16),
    ],
)
def test_dicom_image(tmp_path, tags, expected, dtype, compression):
    path = write_dicom(
        tmp_path / "made" / "x.dcm", STORED, compression=compression, BitsStored=12, **tags
    )
    image = read_dicom_image(path)
    assert image.dtype == dtype
    assert (image == expected).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_written_dicom(tmp_path, dtype):
    limits = np.iinfo(dtype)
    pixels = np.linspace(limits.min, limits.max, 63 * 31).astype(dtype).reshape(63, 31)
    content = write_dicom(tmp_path / "x.dcm", pixels, Modality="MR").read_bytes()
    image = read_dicom_image(tmp_path / "x.dcm")
    assert image.dtype == dtype
    assert (image == pixels).all()
    assert content == write_dicom(tmp_path / "2" / "x.dcm", pixels, Modality="MR").read_bytes()
    header = pydicom.dcmread(tmp_path / "x.dcm")
    assert (header.Modality, header.SOPClassUID.name) == ("MR", "Secondary Capture Image Storage")
    if dtype == np.uint8:
        path = write_dicom(tmp_path / "y.dcm", pixels, compression="jpeg")
        assert abs(read_dicom_image(path) - pixels.astype(int)).max() < 20


def test_dicom_images_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match=r"x\.dcm: no such file"):
        read_dicom_image(tmp_path / "x.dcm")
    for tags, message in (
        ({"NumberOfFrames": 3}, "has 3 frames"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "pixels are PALETTE COLOR"),
        ({"ModalityLUTSequence": [pydicom.Dataset()]}, "modality LUT"),
    ):
        path = write_dicom(tmp_path / "x.dcm", STORED, **tags)
        with pytest.raises(DataError, match=rf"x\.dcm: .*{message}"):
            read_dicom_image(path)
    for content in (b"no DICOM", write_dicom(path, STORED).read_bytes()[:-5]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.dcm: cannot be read"):
            read_dicom_image(path)
