from collections import Counter

import pytest
import umedpt_task_cns
from umedpt_task_cns.data import FOLDERS, PLACES, identify, make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_cns.umedpt_tasks()
SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(root):
    return {split: open_split(SPEC, root, split, None) for split in SPLITS}


def test_fake_splits(root):
    cases = open_all(root)
    every = [case for part in cases.values() for case in part]
    assert Counter(case.target for case in every) == dict.fromkeys(range(4), 15)
    assert 16 <= len(cases["test"]) <= 20
    assert {case.target for case in cases["test"]} == {0, 1, 2, 3}
    for case in every:
        assert root / case.id == case.path
        assert case.id.split("/")[1] == FOLDERS[case.target]
        if PLACES[case.target]:
            assert case.image[PLACES[case.target]].max() > 180
        else:
            assert case.image.max() < 130
    assert {case.image.shape for case in every} >= {(48, 48), (48, 47, 3)}


def test_folders_are_their_classes():
    spelt = [name.replace("tumour", "tumor").replace(" ", "") for name in SPEC.classes]
    assert spelt == ["glioma", "meningioma", "notumor", "pituitarytumor"]
    assert FOLDERS == ("glioma", "meningioma", "notumor", "pituitary")


def test_both_folders_are_in_both_splits(root):
    cases = open_all(root)
    for split in ("train", "test"):
        assert {case.id.split("/")[0] for case in cases[split]} == {"Training", "Testing"}


def test_copies_are_on_one_side(root):
    cases = open_all(root)
    contents = [{case.path.read_bytes() for case in part} for part in cases.values()]
    assert sum(map(len, contents)) == len(set().union(*contents)) == 56


def test_a_copy_in_another_class_stays_with_the_first(root):
    for copy in sorted((root / "Testing" / "pituitary").iterdir()):
        original = root / "Training" / "notumor" / copy.name.replace("Te-pi", "Tr-no")
        original.write_bytes(copy.read_bytes())
    cases = open_all(root)
    patients = [{case.patient for case in part} for part in cases.values()]
    assert sum(map(len, patients)) == len(set().union(*patients))


def test_same_size_does_not_make_a_copy(tmp_path):
    paths = [tmp_path / name for name in "abcd"]
    for path, content in zip(paths, (b"one", b"two", b"one", b"three"), strict=True):
        path.write_bytes(content)
    names = identify(paths)
    assert names[0] == names[2] != names[1]
    assert names[3] == "d"


def test_augmented_copies_are_left_out(root):
    assert (root / "Testing" / "meningioma" / "Te-aug-me_1.jpg").is_file()
    assert not any("aug" in case.id for part in open_all(root).values() for case in part)


def test_renamed_folders(root):
    (root / "Testing" / "notumor").rename(root / "Testing" / "no_tumor")
    with pytest.raises(DataError, match="Testing/notumor is missing"):
        open_all(root)
    (root / "Testing" / "notumor").mkdir()
    with pytest.raises(DataError, match=r"Testing/notumor: no \*\.jpg here"):
        open_all(root)


class TestConformance(Conformance):
    distribution = "umedpt-task-cns"
