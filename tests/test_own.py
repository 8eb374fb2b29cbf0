"""Own data without a plugin: every layout becomes a task, and every mistake is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import nibabel
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from umedpt_core import ConfigError, load_catalogue
from umedpt_core.catalogue import Catalogue
from umedpt_core.cli import LazyGroup, Settings, cli
from umedpt_core.cli.own import folder_option, task_or_folder
from umedpt_core.data.own import make_fake, own_task, read_folder
from umedpt_core.data.tasks import TaskData, open_task
from umedpt_core.specs import TaskSpec
from umedpt_core.testing import Examination
from umedpt_core.testing.tasks import TaskSubject

SPLITS = ("train", "val", "test")
CHECKS = ("opens", "cases", "ids", "patients", "pickles", "untouched", "step", "augmented")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def image(
    path: Path, value: int = 0, size: tuple[int, int] = (40, 32), kind: Any = np.uint8
) -> str:
    """A noisy image; its file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).integers(0, 20, size[::-1])
    Image.fromarray((noise + value).astype(kind)).save(path)
    return path.name


def mask(path: Path, *values: int, size: tuple[int, int] = (40, 32)) -> str:
    """Vertical stripes of the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.resize(np.repeat(np.array(values, np.uint8), 4), size[0])
    Image.fromarray(np.tile(stripes, (size[1], 1))).save(path)
    return path.name


def volume(path: Path, voxels: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    return path.name


def table(path: Path, *rows: str) -> None:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def coco(path: Path, names: list[str], **other: Any) -> dict[str, Any]:
    """Two boxes an image, of categories 3 and 7; a crowd region in the first."""
    boxes = [
        {"id": 2 * n + c, "image_id": n, "category_id": (7, 3)[c], "bbox": [4 + 10 * c, 2, 8, 20]}
        for n in range(len(names))
        for c in (0, 1)
    ]
    crowd = {"image_id": 0, "category_id": 3, "bbox": [0, 0, 40, 32], "iscrowd": 1}
    content = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "annotations": [*boxes, crowd],
        "categories": [{"id": 7, "name": "nucleus"}, {"id": 3, "name": "cell"}],
    } | other
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return content


def conform(spec_entry: Any, catalogue: Catalogue, root: Path, scratch: Path) -> TaskData:
    """Run the kit's checks on the task, on the folder in place of fake data."""
    extended = catalogue.with_task(spec_entry)
    examination = Examination("umedpt-task-shapes", extended, scratch)

    class OnFolder(TaskSubject):
        root = property(lambda self: folder)  # type: ignore[assignment]

    folder = root
    subject = OnFolder(examination, "task", spec_entry)
    for name in CHECKS:
        result = examination.result(name, subject)
        assert result.status == "ok" or "asks for no augmentation" in result.message, result
    return subject.reading.task


def test_class_folders(tmp_path, catalogue):
    make_fake(tmp_path / "My data, 2nd", 0)
    (tmp_path / "My data, 2nd" / "__MACOSX").mkdir()
    said: list[str] = []
    entry = own_task(tmp_path / "My data, 2nd", catalogue, say=said.append)
    spec = entry.spec
    assert (spec.name, spec.label_type, spec.classes) == (
        "my-data-2nd",
        "classification",
        ("bright", "dark"),
    )
    assert (spec.splits, spec.intensity, spec.augmentation) == ((), "uint8", "standard")
    assert said[0] == "my-data-2nd: classification of 24 images: bright, dark"
    assert "no patients are named" in said[1]
    assert TaskSpec.model_validate_json(spec.model_dump_json()) == spec
    task = conform(entry, catalogue, tmp_path / "My data, 2nd", tmp_path)
    cases = [case for split in SPLITS for case in task.cases[split]]
    assert len(cases) == 24
    for case in cases:
        assert (case.target == 0) == (case.image.mean() > 115)
        assert case.id.split("/")[0] == spec.classes[case.target]


def test_class_folders_of_splits(tmp_path, catalogue):
    for split, numbers in (("Train", range(4)), ("valid", range(4, 6)), ("test", range(6, 9))):
        for name in ("10", "9"):
            for number in numbers:
                image(tmp_path / split / name / f"{number}.PNG", kind=np.uint16)
    entry = own_task(tmp_path, catalogue, "mine")
    assert (entry.spec.splits, entry.spec.classes) == (SPLITS, ("9", "10"))
    assert entry.spec.intensity == "dtype"
    task = open_task(catalogue.with_task(entry), "mine", SPLITS, root=tmp_path)
    assert {split: len(cases) for split, cases in task.cases.items()} == {
        "train": 8,
        "val": 4,
        "test": 6,
    }
    assert task.cases["test"][0].id == "test/10/6.PNG"
    assert task.cases["test"][0].target == 1


def test_what_else_lies_in_class_folders(tmp_path):
    for split in ("Training", "Testing"):
        make_fake(tmp_path / split, 0)
        for name in ("Thumbs.db", "._00.png", "~$00.png", "desktop.ini"):
            (tmp_path / split / "dark" / name).write_bytes(b"")
    image(tmp_path / "Testing" / "dark" / "grey.PGM")
    assert read_folder(tmp_path).notes == ()
    (tmp_path / "Training" / "dark" / "more").mkdir()
    (tmp_path / "Testing" / "dark" / "scan.dcm").write_bytes(b"")
    (tmp_path / "extra").mkdir()
    layout = read_folder(tmp_path)
    assert layout.notes == ("3 other file(s) or folder(s) are left out, such as extra",)
    assert {split: len(cases) for split, cases in layout.cases.items()} == {"train": 24, "test": 25}


def test_a_csv_from_excel(tmp_path):
    lines = ["Image;A;B;;"]
    for n in range(4):
        image(tmp_path / "scans" / f"{n}.png")
        lines.append(f"scans\\{n}.png;{n % 2};{1 - n % 2};;{n + 5}")
    (tmp_path / "list.CSV").write_bytes("\r\n".join([*lines, ";;;;", ""]).encode("utf-8-sig"))
    for name in ("._list.csv", "~$list.csv"):
        (tmp_path / name).write_bytes(b"\0\5\xff")
    layout = read_folder(tmp_path)
    assert (layout.label_type, layout.classes) == ("multilabel", ("A", "B"))
    assert [case.path for case in layout.everything] == [
        tmp_path / "scans" / f"{n}.png" for n in range(4)
    ]


def test_rare_classes_are_named(tmp_path, catalogue):
    make_fake(tmp_path / "mine", 0)
    image(tmp_path / "mine" / "rare" / "0.png")
    said: list[str] = []
    own_task(tmp_path / "mine", catalogue, say=said.append)
    assert said[2].startswith("1 class(es) have fewer than 3 images, such as rare, so")


def test_names_of_files_from_other_systems(tmp_path):
    names = ["a\u0308.png", "\u00f6.png", "u.png"]
    for name in names:
        image(tmp_path / "in" / name)
    written = ["in\\\u00e4.png", "in/o\u0308.png", "in/u.png"]
    table(tmp_path / "list.csv", "image,label", *[f"{w},{w[-5:]}" for w in written])
    assert [case.path.name for case in read_folder(tmp_path).everything] == names


def test_a_csv_of_labels_and_patients(tmp_path, catalogue):
    outside = tmp_path / "elsewhere" / "a.png"
    image(outside)
    rows = ["Filename;Class;Patient;age"]
    for n in range(12):
        name = image(tmp_path / "data" / f"ä {n}.png")
        rows.append(f"{name};{'yes' if n % 3 else 'no'};p{n // 2};{n}")
    table(tmp_path / "data" / "list.csv", *rows, "", f"{outside};no;p0;7")
    said: list[str] = []
    entry = own_task(tmp_path / "data", catalogue, say=said.append)
    assert said == ["data: classification of 13 images: no, yes"]
    task = conform(entry, catalogue, tmp_path / "data", tmp_path)
    cases = {case.id: (case, split) for split in SPLITS for case in task.cases[split]}
    assert len(cases) == 13
    assert cases["ä 4.png"][0].target == 1
    assert cases["ä 3.png"][0].target == 0
    assert cases[str(outside)][0].patient == "p0"
    assert cases["ä 4.png"][1] == cases["ä 5.png"][1]


def test_csvs_of_splits(tmp_path, catalogue):
    for split, numbers in (("train", range(6)), ("test", range(6, 10))):
        rows = [f"{image(tmp_path / f'{n}.png')},{n / 10}" for n in numbers]
        table(tmp_path / f"{split}.csv", "image,value", *rows)
    table(tmp_path / "notes.csv", "anything")
    entry = own_task(tmp_path, catalogue, "mine")
    assert entry.spec.label_type == "regression"
    assert entry.spec.splits == ("train", "test")
    assert entry.spec.label_options["mean"] == pytest.approx(0.25)
    task = open_task(catalogue.with_task(entry), "mine", ("train", "val", "test"), root=tmp_path)
    assert [case.target for case in task.cases["test"]] == [0.6, 0.7, 0.8, 0.9]
    assert len(task.cases["train"]) + len(task.cases["val"]) == 6


def test_a_csv_of_several_labels_with_a_split(tmp_path, catalogue):
    cells = ["1,0,", "0,1,1", "-1,1.0,0", "1,,1"]
    splits = ["train", "Train", "test", "validation"]
    rows = [
        f"{image(tmp_path / f'{n}.png')},{s},{c}"
        for n, (s, c) in enumerate(zip(splits, cells, strict=True))
    ]
    table(tmp_path / "list.csv", "image,split,Oedema,Mass,clear", *rows)
    entry = own_task(tmp_path, catalogue, "mine")
    assert entry.spec.label_type == "multilabel"
    assert entry.spec.classes == ("Oedema", "Mass", "clear")
    task = open_task(catalogue.with_task(entry), "mine", SPLITS, root=tmp_path)
    assert [case.target for case in task.cases["train"]] == [[1, 0, -1], [0, 1, 1]]
    assert task.cases["test"][0].target == [-1, 1, 0]
    assert task.cases["val"][0].target == [1, -1, 1]


def masks_csv(folder: Path, *values: int) -> None:
    rows = [
        f"{image(folder / f'{n}.png')},masks/{mask(folder / 'masks' / f'{n}.png', *values)}"
        for n in range(8)
    ]
    table(folder / "list.csv", "image,mask", *rows)


def test_a_csv_of_masks(tmp_path, catalogue):
    masks_csv(tmp_path / "a", 0, 1, 2, 255)
    entry = own_task(tmp_path / "a", catalogue)
    assert entry.spec.label_type == "segmentation"
    assert entry.spec.classes == ("background", "class 1", "class 2")
    task = conform(entry, catalogue, tmp_path / "a", tmp_path)
    assert set(np.unique(task.cases["train"][0].target)) == {0, 1, 2, 255}

    masks_csv(tmp_path / "named", 0, 2)
    table(tmp_path / "named" / "classes.txt", "background", "cell", "nucleus")
    assert own_task(tmp_path / "named", catalogue).spec.classes[2] == "nucleus"


@pytest.mark.parametrize("names", [(), ("background", "cell"), ("cell",)])
def test_white_masks(tmp_path, catalogue, names):
    masks_csv(tmp_path, 0, 255)
    if names:
        table(tmp_path / "classes.txt", *names)
    entry = own_task(tmp_path, catalogue, "mine")
    assert entry.spec.classes == (names or ("background", "foreground"))
    task = open_task(catalogue.with_task(entry), "mine", ("train",), root=tmp_path)
    assert set(np.unique(task.cases["train"][0].target)) == {0, 1}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "F"])
def test_masks_of_other_types(tmp_path, catalogue, mode):
    masks_csv(tmp_path, 0, 255)
    for path in (tmp_path / "masks").iterdir():
        Image.open(path).convert(mode).save(path, format="TIFF")
    entry = own_task(tmp_path, catalogue, "mine")
    assert entry.spec.classes == ("background", "foreground")
    task = open_task(catalogue.with_task(entry), "mine", ("train",), root=tmp_path)
    assert task.cases["train"][0].target[0, :9].tolist() == [0] * 4 + [1] * 4 + [0]


def test_volumes_with_masks_and_with_labels(tmp_path, catalogue):
    voxels = np.random.default_rng(0).integers(0, 9, (20, 24, 18)).astype(np.int16)
    inside = np.zeros(voxels.shape, np.float32)  # as nibabel writes them if one does not care
    inside[5:15, 5:15, 5:15] = 1
    rows, labels = [], []
    for n in range(6):
        name = volume(tmp_path / "masks" / f"{n}.nii.gz", voxels)
        rows.append(f"{name},{volume(tmp_path / 'masks' / f'{n}_mask.nii.gz', inside)}")
        labels.append(f"{tmp_path / 'masks' / name},{'ab'[n % 2]},ct")
    table(tmp_path / "masks" / "list.csv", "image,mask", *rows)
    entry = own_task(tmp_path / "masks", catalogue)
    assert (entry.spec.instances.kind, entry.spec.intensity) == ("slices", "mri")
    assert (entry.spec.classes, entry.spec.augmentation) == (
        ("background", "class 1"),
        "tomography",
    )
    task = conform(entry, catalogue, tmp_path / "masks", tmp_path)
    assert task.cases["train"][0].target.voxels.sum() == 1000

    (tmp_path / "bags").mkdir()
    table(tmp_path / "bags" / "list.csv", "image,label,intensity", *labels)
    entry = own_task(tmp_path / "bags", catalogue)
    assert (entry.spec.label_type, entry.spec.instances.kind) == ("bag", "bag")
    assert entry.spec.intensity == "ct"
    conform(entry, catalogue, tmp_path / "bags", tmp_path)


def test_a_coco_json(tmp_path, catalogue):
    names = [image(tmp_path / "data" / "images" / f"{n}.png") for n in range(9)]
    content = coco(tmp_path / "data" / "list.json", names)
    content["images"].append(
        {"id": "none", "file_name": image(tmp_path / "data" / "images" / "none.png")}
    )
    (tmp_path / "data" / "list.json").write_text(json.dumps(content))
    table(tmp_path / "data" / "list.csv", "not,asked")
    (tmp_path / "data" / "other.json").write_text("[1]")
    said: list[str] = []
    entry = own_task(tmp_path / "data", catalogue, say=said.append)
    assert (entry.spec.label_type, entry.spec.classes) == ("detection", ("cell", "nucleus"))
    assert said[-1] == "1 crowd region(s) are left out"
    task = conform(entry, catalogue, tmp_path / "data", tmp_path)
    by_id = {case.id: case.target for split in SPLITS for case in task.cases[split]}
    assert by_id["3.png"]["boxes"].tolist() == [[4, 2, 12, 22], [14, 2, 22, 22]]
    assert by_id["3.png"]["labels"].tolist() == [1, 0]
    assert by_id["none.png"]["boxes"].shape == (0, 4)


def test_coco_jsons_as_published(tmp_path, catalogue):
    for split, numbers in (("train2017", range(4)), ("val2017", range(2)), ("test2017", range(3))):
        names = [image(tmp_path / split / f"{n}.png") for n in numbers]
        coco(tmp_path / "annotations" / f"instances_{split}.json", names)
        (tmp_path / "annotations" / f"captions_{split}.json").write_text('{"images": []}')
    entry = own_task(tmp_path, catalogue, "mine")
    task = open_task(catalogue.with_task(entry), "mine", SPLITS, root=tmp_path)
    assert [len(task.cases[split]) for split in SPLITS] == [4, 2, 3]
    assert task.cases["test"][0].path == tmp_path / "test2017" / "0.png"
    assert task.cases["test"][0].id == "test/0.png"


def test_coco_jsons_beside_their_images(tmp_path):
    for split, number in (("train", 4), ("valid", 2), ("test", 3)):
        names = [image(tmp_path / split / "in" / f"{n}.png") for n in range(number)]
        names = [f"in\\{name}" for name in names]
        unused = {"categories": [{"id": n, "name": f"c{n}"} for n in (0, 3, 7, 9)]}
        coco(tmp_path / split / "_annotations.coco.json", names, **unused)
        (tmp_path / split / "._annotations.coco.json").write_bytes(b"\0\5\xff")
    layout = read_folder(tmp_path)
    assert {split: len(cases) for split, cases in layout.cases.items()} == {
        "train": 4,
        "val": 2,
        "test": 3,
    }
    assert layout.cases["val"][1].path == tmp_path / "valid" / "in" / "1.png"
    assert layout.classes == ("c0", "c3", "c7", "c9")
    assert layout.notes[1] == "categories without a box, which are classes all the same: c0, c9"


def test_names_give_way_to_registered_tasks(tmp_path, catalogue):
    make_fake(tmp_path / "shapes-classification", 0)
    folder = tmp_path / "shapes-classification"
    assert own_task(folder, catalogue).spec.name == "own-shapes-classification"
    entry = own_task(folder, catalogue, "shapes-classification")
    with pytest.raises(ConfigError, match="there is a task named 'shapes-classification'"):
        catalogue.with_task(entry)
    with pytest.raises(ConfigError, match="name: "):
        own_task(folder, catalogue, "No slug")
    assert "mine" not in catalogue.tasks


def labels(folder: Path, *lines: str, images: int = 6) -> None:
    for n in range(images):
        image(folder / f"{n}.png")
    table(folder / "list.csv", *lines)


SIX = [f"{n}.png,{'ab'[n % 2]}" for n in range(6)]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["picture,label", *SIX], r"list.csv: no column of images; name it .* or move the file"),
        (["image,diagnosis", *SIX], r"line 2: column 'diagnosis' holds 'a', not 1, 0, -1 or blank"),
        (["image", *[row[:5] for row in SIX]], r"no column of targets; name it label, class, mask"),
        (["image,label,mask", "0.png,a,b"], r"has the targets label and mask; keep one"),
        (["image,label,label", *SIX], r"two columns 'label'"),
        (["image,label"], r"list.csv: has no rows"),
        (["image,label", *SIX, "0.png"], r"line 8: has 1 cells where the first line has 2"),
        (["image,label", *SIX, '0.png,"a'], r"line 8: no CSV \(.*\); mend it"),
        (["image,label", *SIX, "7.png,a"], r"line 8: image: no such file: .*/7\.png; paths start"),
        (["image,label", *SIX, "0.png,"], r"line 8: label is empty"),
        (["image,label", *SIX, "0.png,a"], r"0\.png is listed twice"),
        (["image,label", "0.png,a", "1.png,a"], r"every label is 'a'"),
        (["image,label", *SIX[:2]], r"2 patient\(s\) are too few"),
        (["image,value", "0.png,1", "1.png,x"], r"line 3: value 'x' is no number"),
        (["image,value", "0.png,1", "1.png,1"], r"value is 1.0 in all rows"),
        (["image,a,b", "0.png,1,0", "1.png,0,0"], r"label 'b' is 1 in no row"),
        (["image,mask", "0.png,m.png"], r"line 2: mask: no such file: .*/m\.png"),
        (["image,label,split", "0.png,a,dev"], r"line 2: split 'dev' is none of train, val and"),
        (["image,label,split", "0.png,a,train", "1.png,b,train"], r"has splits, but no test"),
        (
            ["image,label,split", "0.png,a,train", "1.png,b,train", "2.png,c,test"],
            r"class 'c' occurs in test but not in train",
        ),
        (
            ["image,label,split,patient", "0.png,a,train,p", "1.png,b,train,q", "2.png,a,test,p"],
            r"patient 'p' is in train and in test",
        ),
        (
            ["image,label,intensity", *[f"{row},high" for row in SIX]],
            r"list.csv: intensity is high",
        ),
    ],
)
def test_mistakes_in_a_csv(tmp_path, lines, problem):
    labels(tmp_path, *lines)
    with pytest.raises(ConfigError, match=problem) as caught:
        read_folder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"images": [{"id": 0}]}, r"list.json: not as COCO has it: images.0.file_name: Field"),
        ({"annotations": [{"image_id": 0, "category_id": 3}]}, r"annotations.0.bbox: Field"),
        (
            {"annotations": [{"image_id": 9, "category_id": 3, "bbox": [0, 0, 1, 1]}]},
            r"annotations.0: there is no image 9",
        ),
        (
            {"annotations": [{"image_id": 0, "category_id": 1, "bbox": [0, 0, 1, 1]}]},
            r"annotations.0: there is no category 1",
        ),
        (
            {"categories": [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]},
            r"category 3 is 'b' and 'a'",
        ),
        ({"annotations": []}, r"list.json: has no boxes to learn from"),
        (
            {"images": [{"id": 0, "file_name": "0.png"}, {"id": 1, "file_name": "no.png"}]},
            r"1 of 2 images are missing, the first is .*/no\.png",
        ),
    ],
)
def test_mistakes_in_a_coco_json(tmp_path, change, problem):
    names = [image(tmp_path / f"{n}.png") for n in range(4)]
    content = coco(tmp_path / "list.json", names)
    if "images" in change:
        content["annotations"] = []
    (tmp_path / "list.json").write_text(json.dumps(content | change))
    with pytest.raises(ConfigError, match=problem):
        read_folder(tmp_path)


def test_mistakes_in_a_folder(tmp_path, catalogue):
    def fails(folder: str, problem: str) -> None:
        with pytest.raises(ConfigError, match=problem):
            own_task(tmp_path / folder, catalogue)

    fails("absent", "no such folder")
    (tmp_path / "empty").mkdir()
    fails("empty", r"it needs a COCO JSON .* a CSV with the columns .* a folder of images for each")
    image(tmp_path / "one" / "class" / "0.png")
    fails("one", "'class' is the only class folder")
    make_fake(tmp_path / "hollow", 0)
    (tmp_path / "hollow" / "grey" / "p1").mkdir(parents=True)
    fails("hollow", r"hollow/grey: a class without images")
    image(tmp_path / "pairs" / "images" / "0.png")
    image(tmp_path / "pairs" / "masks" / "0.png")
    fails("pairs", r"the folder 'images' is no class; images with masks")
    make_fake(tmp_path / "mixed", 0)
    volume(tmp_path / "mixed" / "dark" / "0.nii", np.zeros((8, 8, 8), np.int16))
    fails("mixed", r"holds volumes \(dark/0.nii\) and images")
    for split in ("train", "test"):
        make_fake(tmp_path / "unseen" / split, 0)
    image(tmp_path / "unseen" / "test" / "new" / "0.png")
    fails("unseen", r"class 'new' occurs in test but not in train")
    make_fake(tmp_path / "unseen" / "Testing", 0)
    fails("unseen", r"both Testing and test are test; keep one")
    make_fake(tmp_path / "twice", 0)
    (tmp_path / "twice" / "broken.json").write_text("{")
    fails("twice", r"broken.json: cannot be read as JSON")
    (tmp_path / "twice" / "broken.json").unlink()
    table(tmp_path / "twice" / "a.csv", "image,label")
    table(tmp_path / "twice" / "b.csv", "image,label")
    fails("twice", r"several files may list the data: a.csv, b.csv")
    (tmp_path / "twice" / "b.csv").unlink()
    (tmp_path / "twice" / "a.csv").write_bytes("image,é".encode("latin-1"))
    fails("twice", r"a.csv: cannot be read as UTF-8")
    for n in range(4):
        Image.new("RGB", (40, 32)).save(tmp_path / "twice" / f"{n}.png")
    table(tmp_path / "twice" / "a.csv", "image,mask", *[f"{n}.png,{n}.png" for n in range(4)])
    fails("twice", r"the masks hold 0; number the classes 0, 1, 2")
    for n in range(4):
        Image.new("RGB", (40, 32), "red").save(tmp_path / "twice" / f"{n}.png")
    fails("twice", r"no mask can be read; the last one: .*3.png: .* this one colours; save it")
    (tmp_path / "twice" / "m.JPG").write_bytes(b"")
    table(tmp_path / "twice" / "a.csv", "image,mask", "0.png,m.JPG")
    fails("twice", r"a.csv, line 2: mask: m.JPG is a JPEG, which blurs class indices; make it anew")
    (tmp_path / "twice" / "in").mkdir()
    rows = ["image,label", "0.png,a", "1.png,b", "2.png,b", "in/../0.png,b"]
    table(tmp_path / "twice" / "a.csv", *rows)
    fails("twice", r"twice/0\.png is listed twice")
    masks_csv(tmp_path / "grey", 0, 100, 200)
    fails("grey", r"the masks hold 0, 100, 200; number the classes 0, 1, 2")
    rows = [
        f"{volume(tmp_path / 'numbers' / f'{n}.nii', np.ones((8, 8, 8)))},{n}" for n in range(3)
    ]
    table(tmp_path / "numbers" / "a.csv", "image,value", *rows)
    fails("numbers", "regression is not made of volumes")


def test_a_label_type_that_is_not_installed(tmp_path):
    make_fake(tmp_path, 0)
    without = load_catalogue(["umedpt-label-classification", "umedpt-augment-standard"])
    with pytest.raises(ConfigError, match="label-classification, which brings it, is blocked"):
        own_task(tmp_path, without)
    plain = load_catalogue(["umedpt-augment-standard"])
    assert own_task(tmp_path, plain).spec.augmentation == "none"


@click.group(cls=LazyGroup, commands={})
def group() -> None:
    """Words errors as umedpt does."""


@click.command()
@click.argument("task", required=False)
@folder_option
@click.option("--root", type=click.Path(path_type=Path))
@click.pass_obj
def command(session: Any, task: str | None, folder: Path | None, root: Path | None) -> None:
    catalogue, name, root = task_or_folder(session, task, folder, root)
    click.echo(f"{name} {name in catalogue.tasks} {root}")


def test_the_option(tmp_path):
    make_fake(tmp_path / "mine", 0)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(command, arguments, obj=Settings())

    assert run("--folder", str(tmp_path / "mine")).stdout == f"mine True {tmp_path / 'mine'}\n"
    assert run("shapes-classification").stdout == "shapes-classification True None\n"
    for arguments, problem in [
        ((), "give either a TASK or --folder DIR"),
        (("shapes-classification", "--folder", str(tmp_path)), "give either a TASK or --folder"),
        (("--folder", str(tmp_path), "--root", str(tmp_path)), "--root is of a registered TASK"),
        (("nothing-like-it",), "no task named 'nothing-like-it'"),
    ]:
        assert problem in str(run(*arguments).exception)
    assert "does not exist" in run("--folder", str(tmp_path / "no")).stderr


def test_own_data_is_looked_at_before_training(tmp_path):
    make_fake(tmp_path / "mine", 0)
    (tmp_path / "mine" / "dark" / "broken.png").write_bytes(b"none")
    words = ["data", "check", "--folder", str(tmp_path / "mine"), "--workers", "0"]
    checked = CliRunner().invoke(cli, words)
    assert checked.exit_code == 1
    assert "1 broken" in checked.stdout
    sheet = tmp_path / "sheet.png"
    words = ["data", "preview", "--folder", str(tmp_path / "mine"), "-o", str(sheet)]
    assert CliRunner().invoke(cli, words).exit_code == 0
    assert sheet.stat().st_size > 1000


def test_class_folders_of_real_images(tmp_path, catalogue):
    """The publisher's layout of pneumonia, without its plugin and without its test images."""
    data = os.environ.get("UMEDPT_TEST_DATA")
    if not data:
        pytest.skip("UMEDPT_TEST_DATA is not set")
    train = next(Path(data, "pneumonia").rglob("train"))
    entry = own_task(train, catalogue)
    assert entry.spec.classes == ("NORMAL", "PNEUMONIA")
    task = open_task(catalogue.with_task(entry), entry.spec.name, ("train",), root=train)
    assert {case.target for case in task.cases["train"]} == {0, 1}
