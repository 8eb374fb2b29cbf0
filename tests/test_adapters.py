"""Datasets of other libraries become cases in one call."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms.functional import to_tensor

from umedpt_core import Case, cases_from_huggingface, cases_from_torchvision
from umedpt_core.data.batch import Ticket
from umedpt_core.data.loader import Instances
from umedpt_core.data.tasks import open_task

PLUGIN = """
from torchvision.datasets import FakeData
from umedpt_core import cases_from_torchvision

def open_cases(root, split, options):
    return cases_from_torchvision(FakeData(12, (3, 40, 48), 2), split)

@hookimpl
def umedpt_tasks():
    yield task("noise", cases="umedpt_task_noise:open_cases", source=Source(
        homepage="-", licence="-", citation="-", access="generated"))
"""


class Split:
    """Looks like a split of a Hugging Face dataset: rows by number, columns by name."""

    def __init__(self, columns):
        self.columns, self.loaded = columns, []

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        self.loaded.append(key)
        return {name: column[key] for name, column in self.columns.items()}


@pytest.fixture
def split():
    images = [Image.fromarray(np.full((4, 6), 10 * i, np.uint8)) for i in range(3)]
    return Split({"scan": images, "grade": [2, 0, 1], "subject": [7, 7, 8]})


def test_a_torchvision_dataset(tmp_path):
    for name in ("no", "yes"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (6, 4), "red" if name == "yes" else "blue").save(tmp_path / name / "0.png")
    cases = cases_from_torchvision(ImageFolder(tmp_path), "train")
    assert [case.target for case in cases] == [0, 1]
    assert cases[1].image.shape == (4, 6, 3)
    assert (cases[1].image == (255, 0, 0)).all()
    assert [case.id for case in cases] == ["train/000000", "train/000001"]
    assert all(isinstance(case, Case) for case in cases)


def test_the_docs_example(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "hooks.md").read_text()
    code = text.split("### Datasets of other libraries")[1].split("```python\n")[1].split("```")[0]
    for name in ("plain", "ring"):
        (tmp_path / name).mkdir()
        Image.new("L", (6, 4)).save(tmp_path / name / "p0_0.png")
    module = {}
    exec(code, module)  # noqa: S102
    assert [case.target for case in module["open_cases"](tmp_path, "all", None)] == [0, 1]


def test_patients_of_a_torchvision_dataset():
    cases = cases_from_torchvision(FakeData(4), "all", lambda index: f"p{index // 2}")
    assert [case.patient for case in cases] == ["p0", "p0", "p1", "p1"]
    alone = cases_from_torchvision(FakeData(4), "all")
    assert len({case.patient for case in alone}) == 4


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_all_forms_of_an_image_give_the_same_values(mode):
    picture = FakeData(1, (3, 4, 6))[0][0].convert(mode)
    forms = [picture, np.asarray(picture), (255 * to_tensor(picture)).round().to(torch.uint8)]
    cases = cases_from_torchvision([(form, 0) for form in forms], "all")
    for case in cases:
        assert case.image.dtype == np.uint8
        np.testing.assert_array_equal(case.image, np.asarray(picture))


def test_a_hugging_face_split(split):
    cases = cases_from_huggingface(split, "train", "scan", "grade", patient="subject")
    assert split.loaded == []
    assert [case.target for case in cases] == [2, 0, 1]
    assert [int(case.image[0, 0]) for case in cases] == [0, 10, 20]
    assert cases[0].image.shape == (4, 6)
    assert [case.patient for case in cases] == ["7", "7", "8"]
    assert cases[2].id == "train/000002"


def test_an_item_is_loaded_once_for_image_and_target(split):
    case = cases_from_huggingface(split, "train", "scan", "grade")[1]
    assert (case.image[0, 0], case.target) == (10, 0)
    assert split.loaded == [1]


def test_cases_pickle_with_one_dataset_and_no_loaded_item():
    dataset = [(np.zeros((100, 100), np.uint8), 0)]
    cases = cases_from_torchvision(dataset * 50, "train")
    before = len(pickle.dumps(cases))
    assert cases[7].image.shape == (100, 100)
    assert len(pickle.dumps(cases)) == before < 20_000
    again = pickle.loads(pickle.dumps(cases))  # noqa: S301
    assert again[0].items is again[49].items
    assert again[7].target == 0


def test_a_plugin_of_ten_lines_gives_batches(site):
    site.add("umedpt-task-noise", PLUGIN)
    task = open_task(site.load(), "noise", ("train",), batch_size=4, image_size=64)
    batch = Instances({"noise": task}, seed=0)[Ticket("train", "noise", 0)]
    assert batch.x_BCHW.shape == (4, 3, 64, 64)
    assert not batch.skips
