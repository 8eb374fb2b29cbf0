"""Draws of training cases: nested, balanced, by patient, with every class, and reproducible."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from umedpt_label_detection.head import Detection

from umedpt_core import (
    ConfigError,
    DataError,
    FileCase,
    Patches,
    Slices,
    SlideCase,
    Volume,
    Whole,
    load_catalogue,
)
from umedpt_core.data.tasks import TaskData
from umedpt_core.transfer.cases import training_cases
from umedpt_core.transfer.draws import FRACTIONS, Draws, classes_of, make_draws

CLASSES = 5


class Several:
    """A label type whose targets are sets of classes; of masks, the values."""

    def check(self, target: Any, size: tuple[int, int]) -> tuple[Any, int]:
        if isinstance(target, np.ndarray) and target.shape != size:
            raise ValueError(f"{target.shape} for {size}")
        return target, 0

    def classes_in(self, target: Any) -> set[int]:
        return set(np.unique(target).tolist()) if isinstance(target, np.ndarray) else set(target)


@dataclass(frozen=True)
class Told:
    """A case of which nothing but the classes matters."""

    id: str
    patient: str
    target: Any
    image: Any = None


def task_of(instances: Any = Whole(), geometry: str = "none", name: str = "told") -> TaskData:  # noqa: B008
    label: Any = Several()
    return TaskData(name, {}, label, geometry, instances, "uint8", None, None, 8)


TASK = task_of()


@st.composite
def some_cases(draw: Any) -> list[Told]:
    """Up to 60 patients, mostly of one case, with any classes, some without any."""
    sizes = draw(st.lists(st.sampled_from([1, 1, 1, 2, 3, 7]), min_size=1, max_size=60))
    if draw(st.booleans()):
        sizes.append(sum(sizes))  # a patient with half of all cases
    some = st.frozensets(st.integers(0, CLASSES - 1), max_size=draw(st.integers(0, 3)))
    return [
        Told(f"{patient}/{number}", f"p{patient}", draw(some))
        for patient, size in enumerate(sizes)
        for number in range(size)
    ]


a_fraction = st.floats(0.001, 1, exclude_min=True)
several_fractions = st.lists(a_fraction, min_size=1, max_size=5, unique=True).map(sorted)
check = partial(settings, deadline=None, max_examples=60)


@check()
@given(cases=some_cases(), fractions=several_fractions, seed=st.integers(0, 99))
def test_what_every_draw_keeps(cases, fractions, seed):
    draws = make_draws(TASK, cases, [*fractions, 1.0], 2, seed)
    by_id = {case.id: case for case in cases}
    patient_sizes = Counter(case.patient for case in cases)
    largest = max(patient_sizes.values())
    occurring = set().union(*(case.target for case in cases))
    for draw in range(2):
        smaller: set[str] = set()
        for fraction in [*fractions, 1.0]:
            ids = draws.ids(fraction, draw)
            drawn = [by_id[name] for name in ids]
            assert len(set(ids)) == len(ids)
            assert smaller <= set(ids), "a smaller draw is inside the larger one"
            smaller = set(ids)
            held = Counter(case.patient for case in drawn)
            assert all(patient_sizes[name] == n for name, n in held.items()), "whole patients"
            assert set().union(*(case.target for case in drawn)) == occurring, "every class"
            wanted = fraction * len(cases)
            assert len(ids) >= min(wanted, len(cases)) - largest / 2, "not too few"
            # A class adds at most one patient to what the fraction asks for.
            assert len(held) <= CLASSES or len(ids) <= wanted + largest / 2, "not too many"
        assert smaller == set(by_id), "fraction 1 is everything"


@check()
@given(cases=some_cases(), fraction=a_fraction, seed=st.integers(0, 99), shuffle=st.randoms())
def test_the_order_of_cases_and_the_other_fractions_do_not_matter(cases, fraction, seed, shuffle):
    one = make_draws(TASK, cases, [fraction], 3, seed)
    moved = shuffle.sample(cases, len(cases))
    other = make_draws(TASK, moved, [0.5, fraction], 2, seed)
    assert [one.ids(fraction, draw) for draw in range(2)] == [
        other.ids(fraction, draw) for draw in range(2)
    ]


@check()
@given(
    counts=st.lists(st.integers(1, 80), min_size=2, max_size=CLASSES),
    fraction=a_fraction,
    seed=st.integers(0, 99),
)
def test_classes_keep_their_balance(counts, fraction, seed):
    """One class a case, one case a patient.

    A class is within half a case of its share, but has at least one; what the classes differ by
    from their shares is shared out over all.
    """
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    cases = [Told(f"{n}", f"{n}", {label}) for n, label in enumerate(labels)]
    chosen = make_draws(TASK, cases, [fraction], 1, seed).ids(fraction, 0)
    drawn = Counter(labels[int(name)] for name in chosen)
    added = sum(max(0.0, 1 - fraction * count) for count in counts)
    for label, count in enumerate(counts):
        margin = 0.5 + count / len(cases) * ((len(counts) + 1) / 2 + added)
        assert fraction * count - margin <= drawn[label] <= max(1, fraction * count + margin)
    assert abs(len(chosen) - fraction * len(cases)) <= 0.5 or len(chosen) == len(counts)


@check(max_examples=30)
@given(sizes=st.lists(st.integers(1, 6), min_size=10, max_size=40), seed=st.integers(0, 99))
def test_classes_keep_their_balance_where_patients_have_several_cases(sizes, seed):
    cases = [
        Told(f"{patient}/{n}", f"{patient}", {patient % 2})
        for patient, size in enumerate(sizes)
        for n in range(size)
    ]
    total = Counter(label for case in cases for label in case.target)
    by_id = {case.id: case for case in cases}
    draws = make_draws(TASK, cases, [0.5], 1, seed)
    drawn = Counter(label for name in draws.ids(0.5, 0) for label in by_id[name].target)
    for label in (0, 1):
        assert abs(drawn[label] - 0.5 * total[label]) <= 2 * max(sizes)


def test_patients_are_balanced_by_their_rarest_class():
    cases = [Told(f"{n}", f"{n}", {0, 1} if n < 20 else {0}) for n in range(100)]
    draws = make_draws(TASK, cases, [0.1, 0.5], 10)
    for fraction, rare in ((0.1, 2), (0.5, 10)):
        for draw in range(10):
            assert sum(int(name) < 20 for name in draws.ids(fraction, draw)) == rare


def test_a_rare_class_is_rounded_to_the_nearest_number_of_cases():
    cases = [Told(f"{n}", f"{n}", {int(n < 4)}) for n in range(100)]
    drawn = make_draws(TASK, cases, [0.3, 0.4, 0.6, 0.7], 1)
    rare = [sum(int(name) < 4 for name in draws[0]) for draws in drawn.fractions.values()]
    assert rare == [1, 2, 2, 3]


def test_a_patient_with_half_of_all_cases_leaves_small_draws_small():
    cases = [Told(f"{n}", f"{n if n < 50 else 'large'}", {n % 2}) for n in range(100)]
    draws = make_draws(TASK, cases, [0.02], 5)
    assert [len(draws.ids(0.02, draw)) for draw in range(5)] == [2] * 5


def test_draws_differ_by_number_seed_and_task():
    cases = [Told(f"{n}", f"{n}", {n % 2}) for n in range(100)]
    draws = make_draws(TASK, cases, [0.1], 5, 0)
    found = {tuple(draws.ids(0.1, draw)) for draw in range(5)}
    found.add(tuple(make_draws(TASK, cases, [0.1], 1, 1).ids(0.1, 0)))
    found.add(tuple(make_draws(task_of(name="other"), cases, [0.1], 1, 0).ids(0.1, 0)))
    assert len(found) == 7
    taken = Counter(name for draw in range(5) for name in draws.ids(0.1, draw))
    assert max(taken.values()) < 5


def test_draws_are_the_same_on_every_machine_and_day():
    cases = [Told(f"{n}", f"{n // 2}", {n % 3}) for n in range(40)]
    random.Random(0).shuffle(cases)  # noqa: S311
    assert make_draws(TASK, cases, [0.1], 1, 7).ids(0.1, 0) == ["36", "37", "4", "5"]


@pytest.mark.parametrize(
    "cases",
    [
        [Told("a", "p", {0})],
        [Told("a", "p", {0}), Told("b", "p", {1})],
        [Told(f"{n}", f"{n}", {3}) for n in range(3)],
        [Told(f"{n}", f"{n}", set()) for n in range(3)],
    ],
    ids=["one case", "one patient", "one class", "no class"],
)
def test_sets_that_are_too_small_for_the_fractions(cases):
    draws = make_draws(TASK, cases)
    assert [*draws.fractions] == [str(fraction) for fraction in FRACTIONS]
    sizes = [len(draws.ids(fraction, 4)) for fraction in FRACTIONS]
    assert sizes == sorted(sizes)
    assert sizes[0] >= 1
    assert sizes[-1] == len(cases)


def test_the_file(tmp_path):
    cases = [Told(f"é {n}.png", f"{n}", {n % 2}) for n in range(20)]
    draws = make_draws(TASK, cases, [0.1, 1], 2, 3)
    draws.save(tmp_path / "new" / "draws.json")
    assert Draws.load(tmp_path / "new" / "draws.json") == draws
    plain = json.loads((tmp_path / "new" / "draws.json").read_text())
    assert (plain["task"], plain["seed"], plain["cases"]) == ("told", 3, 20)
    assert plain["fractions"]["0.1"] == [draws.ids(0.1, 0), draws.ids(0.1, 1)]
    # Another tool may write a fraction otherwise.
    plain["fractions"]["1"] = plain["fractions"].pop("1.0")
    assert Draws.model_validate(plain).ids(1.0, 0) == draws.ids(1, 0)


def test_errors(tmp_path):
    case = Told("a", "p", {0})
    with pytest.raises(ConfigError, match=r"fraction 0 is not above 0"):
        make_draws(TASK, [case], [0.5, 0])
    with pytest.raises(ConfigError, match=r"fraction nan"):
        make_draws(TASK, [case], [float("nan")])
    with pytest.raises(ConfigError, match=r"0 draws of 1 cases"):
        make_draws(TASK, [case], draws=0)
    with pytest.raises(ConfigError, match=r"5 draws of 0 cases"):
        make_draws(TASK, [])
    with pytest.raises(DataError, match=r"2 cases have the id 'a'"):
        make_draws(TASK, [case, case])
    draws = make_draws(TASK, [case], [0.1, 1], 2)
    with pytest.raises(ConfigError, match=r"no fraction 0.2, only 0.1, 1.0"):
        draws.ids(0.2, 0)
    with pytest.raises(ConfigError, match=r"no draw 2, only 0 to 1"):
        draws.ids(0.1, 2)
    broken = tmp_path / "draws.json"
    for text, problem in [
        ("{", "Invalid JSON"),
        ('{"task": "t", "seed": 0, "cases": 1}', "fractions: Field required"),
        ('{"task": "t", "seed": 0, "cases": 1, "fractions": {"a": []}}', "could not convert"),
        ('{"task": "t", "seed": 0, "cases": 1, "fractions": {"1": [[1]]}}', "valid string"),
    ]:
        broken.write_text(text)
        with pytest.raises(ConfigError, match=rf"no file of draws \(.*{problem}"):
            Draws.load(broken)
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file"):
        Draws.load(tmp_path / "missing.json")


def test_classes_of_images_volumes_and_broken_cases(tmp_path):
    path = tmp_path / "image.png"
    Image.new("L", (6, 4)).save(path)
    masks = task_of(geometry="mask")
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 2] = 3
    assert classes_of(masks, FileCase("a", "a", path, mask)) == {0, 3}
    assert classes_of(masks, FileCase("a", "a", path, mask.T)) == set()
    assert classes_of(masks, FileCase("a", "a", tmp_path / "no.png", mask)) == set()
    assert classes_of(masks, Told("a", "a", mask, np.zeros((4, 6, 3)))) == {0, 3}
    volume = Volume(np.stack([mask, mask + 1]), np.eye(4))
    assert classes_of(task_of(Slices(), "mask"), Told("a", "a", volume)) == {0, 1, 3, 4}


def test_classes_of_boxes(tmp_path):
    path = tmp_path / "slide.tiff"
    pixels = np.full((512, 512, 3), (140, 40, 130), np.uint8)
    tifffile.imwrite(
        path, pixels, tile=(256, 256), photometric="rgb", resolution=(2e4, 2e4), resolutionunit=3
    )
    boxes = {"boxes": np.array([[10, 10, 500, 500]], np.float32), "labels": [1]}
    label = Detection(("stroma", "tumour"))
    patches = replace(task_of(Patches(size=64), "boxes"), label=label)
    assert classes_of(patches, SlideCase("a", "a", path, boxes)) == {1}
    assert classes_of(patches, SlideCase("a", "a", tmp_path / "no.tiff", boxes)) == set()
    slices = replace(task_of(Slices(), "boxes"), label=label)
    assert classes_of(slices, Told("a", "a", boxes | {"boxes": np.zeros((1, 6))})) == {1}


def test_draws_of_a_registered_task():
    data, cases = training_cases(load_catalogue(), "shapes-classification")
    draws = make_draws(data, cases, [0.1], 1)
    by_id = {case.id: case for case in cases}
    labels = {by_id[name].target for name in draws.ids(0.1, 0)}
    assert labels == set(range(len(data.label.classes)))
