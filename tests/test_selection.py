"""Three ways of ending the training, and what it does to the tasks of pretraining."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

import umedpt_core as umedpt
from umedpt_core.cli import cli
from umedpt_core.data.own import make_fake

MIX = {
    "encoder.name": "resnet10t",
    "decoders": {"pixels": 8, "pyramid": 8},
    "image_size": 32,
    "epochs": 1,
    "steps_per_epoch": 2,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = [f"{key}={value}" for key, value in MIX.items()]
    tasks = ["shapes-classification", "shapes-segmentation"]
    mix = umedpt.Mix.compose(umedpt.load_catalogue(), tasks, settings=settings)
    return umedpt.pretrain(mix, tmp_path_factory.mktemp("run") / "run", workers=0, quiet=True)


def test_the_ways_are_compared_and_what_is_forgotten_is_measured(run, tmp_path):
    words = ["benchmark", "selection", str(run), "shapes-classification"]
    words += ["--output", str(tmp_path / "out"), "--epochs", "4", "--lr", "0.01", "--workers", "0"]
    words += ["--image-size", "32", "--resamples", "0", "--updates", "4"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert set(found["ways"]) == {"fixed", "selected", "all"}
    assert 1 <= found["chosen"] <= 4
    assert set(found["tasks"]) == {"shapes-classification", "shapes-segmentation"}
    for sides in found["tasks"].values():
        assert sides["before"]["loss"] != sides["after"]["loss"]  # at this rate all of it moves
    files = {name: tmp_path / "out" / name / "metrics.json" for name in ("val", "all")}
    reports = {name: json.loads(file.read_text()) for name, file in files.items()}
    assert found["ways"]["all"] == reports["all"]["metrics"]
    assert found["ways"]["fixed"] == reports["val"]["last"]["metrics"]
    assert reports["val"]["train_cases"] == reports["all"]["train_cases"]
    assert "shapes-segmentation, held-out cases" in result.stdout
    again = CliRunner().invoke(cli, words)  # goes on: all is there
    assert again.exit_code == 0
    assert again.stdout == result.stdout


def test_without_training_nothing_is_forgotten(run, tmp_path, monkeypatch):
    """An adaptation whose blocks are those of the run gives the same metrics before and after."""
    from umedpt_core.benchmark.selection import compare_selection

    model = tmp_path / "model"
    shutil.copytree(run / "model", model)
    settings = umedpt.AdaptSettings(mode="finetune", epochs=1, lr=1e-12, image_size=32, resamples=0)
    found = compare_selection(
        str(run), "shapes-segmentation", tmp_path / "out", settings=settings, workers=0, quiet=True
    )
    sides = found["tasks"]["shapes-classification"]
    assert sides["before"]["loss"] == pytest.approx(sides["after"]["loss"], rel=1e-4)
    plain = compare_selection(
        str(model),
        "shapes-segmentation",
        tmp_path / "plain",
        settings=settings,
        workers=0,
        quiet=True,
    )
    assert plain["tasks"] == {}
    monkeypatch.setattr("umedpt_core.transfer.loading.Loading.evaluation", lambda *_: iter(()))
    empty = compare_selection(  # goes on; the held-out cases can no longer be read
        str(run), "shapes-segmentation", tmp_path / "out", settings=settings, workers=0, quiet=True
    )
    assert empty["tasks"] == {}
    assert set(empty["unread"].values()) == {"no held-out case can be used"}


def test_own_data_in_place_of_a_task(tmp_path):
    make_fake(tmp_path / "mine", 0)
    words = ["benchmark", "selection", "random:resnet10t", "--folder", str(tmp_path / "mine")]
    words += ["--mode", "frozen", "--epochs", "1", "--image-size", "32", "--resamples", "0"]
    words += ["--workers", "0", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("mine, test split")
