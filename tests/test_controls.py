"""The shuffled tasks of benchmarks/controls.py: other training targets, nothing else changed."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from umedpt_core import AdaptSettings, load_catalogue
from umedpt_core.transfer.adapt import open_splits
from umedpt_core.transfer.cases import training_cases

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def controls(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("controls")


@pytest.mark.parametrize("label", ["classification", "detection"])
def test_only_the_training_targets_are_shuffled(controls, label):
    catalogue = load_catalogue()
    entry = catalogue.tasks[f"shapes-{label}"]
    shuffled = controls.shuffled_task(entry)
    _, train = training_cases(catalogue, entry.spec.name)
    test = open_splits(catalogue, entry.spec, AdaptSettings(), None, keep_all=False).cases["test"]

    def opened(seed):
        return open_splits(
            catalogue.with_task(shuffled),
            shuffled.spec,
            AdaptSettings(),
            None,
            keep_all=False,
            options={"spec": entry.spec.model_dump(mode="json"), "seed": seed},
        ).cases

    cases = opened(0)
    assert cases["test"] == test
    assert all(case.pictured != case.labelled for case in cases["train"])
    for part in ("pictured", "labelled"):
        assert {getattr(case, part) for case in cases["train"]} == set(train)
    assert len(cases["train"]) == len(train)
    one = cases["train"][0]
    assert (one.id, one.patient) == (one.pictured.id, one.pictured.patient)
    assert (one.image == one.pictured.image).all()
    np.testing.assert_equal(one.target, one.labelled.target)

    def pairs(cases):
        return {(case.id, case.labelled.id) for case in cases["train"]}

    assert pairs(opened(0)) == pairs(cases)
    assert pairs(opened(1)) != pairs(cases)
