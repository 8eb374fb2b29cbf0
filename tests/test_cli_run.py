"""The main job on the command line: what it prints, what it refuses, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from umedpt_core.cli import cli
from umedpt_core.specs import resolve

SMALL = """
encoder: {name: mobilenetv3_small_050}
decoders: {pixels: 8, pyramid: 8}
epochs: 1
steps_per_epoch: 1
image_size: 32
"""
SLUGS = ("bccd", "brats", "chestxray14", "dsb2018", "pneumonia")


def umedpt(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    file = tmp_path / "mix.yaml"
    tasks = "tasks: [{task: shapes-classification, batch_size: 2, options: {cases: 20}}]\n"
    file.write_text(SMALL + tasks)
    return file


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with fakes of images and volumes."""
    root = tmp_path / "data"
    for slug in SLUGS:
        (root / slug).mkdir(parents=True)
        resolve(f"umedpt_task_{slug}.data:make_fake")(root / slug, 0)
    monkeypatch.setenv("UMEDPT_DATA", str(root))
    return root


def test_a_fake_stands_in_for_the_data(tmp_path):
    place = tmp_path / "a fake"
    made = umedpt("data", "fake", "bccd", place)
    assert made.exit_code == 0, made.output
    assert f"umedpt data check bccd --root '{place}'" in made.output
    assert umedpt("data", "check", "bccd", "--root", place, "--workers", 0).exit_code == 0
    for words, message in (
        (("bccd", place), "is not empty; name a new or an empty folder"),
        (("bccd", place / "BCCD" / "ImageSets" / "Main" / "val.txt"), "Not a directory"),
        (("shapes-detection", tmp_path / "b"), "it is generated; nothing to fake"),
    ):
        refused = umedpt("data", "fake", *words)
        assert refused.exit_code == 2, refused.output
        assert message in refused.output
    assert not (tmp_path / "b").exists()


def test_compose_check_pretrain_probe(data, tmp_path):
    mix, run, probe = tmp_path / "m.yaml", tmp_path / "run", tmp_path / "probe"
    new = umedpt("mix", "new", *(f"dist:umedpt-task-{slug}" for slug in SLUGS),
                 "-o", mix, "--set", "epochs=1",
                 "--set", "encoder.name=mobilenetv3_small_050", "--set", "image_size=32",
                 "--set", "steps_per_epoch=1", "--set", "skip_limit=0.5")  # fmt: skip
    assert new.exit_code == 0, new.output
    check = umedpt("mix", "check", mix)
    assert check.exit_code == 0, check.output
    names = [
        "bccd",
        "brats",
        "chestxray14",
        "dsb2018-detection",
        "dsb2018-segmentation",
        "pneumonia",
    ]
    assert [line.split(":")[0] for line in check.stdout.splitlines() if " train, " in line] == names
    done = umedpt("pretrain", mix, "--output", run, "--workers", 0)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""  # messages go to stderr
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {r["task"] for r in rows if r["event"] == "train"} == set(names)
    with Image.open(run / "predictions.png") as sheet:
        assert sheet.width > 600
        assert sheet.height > 10 * 150
    again = umedpt("pretrain", mix, "--output", run, "--resume")
    assert again.exit_code == 0
    assert "finished" in again.stderr
    for model, task in ((run, "dsb2018-segmentation"), ("random:mobilenetv3_small_050", "bccd")):
        words = ("--output", probe / task, "--epochs", 1, "--workers", 0, "--image-size", 64)
        result = umedpt("adapt", model, task, *words)
        assert result.exit_code == 0, result.output
        report = json.loads((probe / task / "metrics.json").read_text())
        assert (report["task"], report["split"]) == (task, "test")
        assert report["n"] > 0
        assert "loss" in report["metrics"]
    words = ("--output", tmp_path / "p3", "--epochs", 1, "--workers", 0, "--image-size", 64)
    other = umedpt("adapt", probe / "bccd", "dsb2018-segmentation", *words)
    assert other.exit_code == 0, other.output  # an adapted model is a MODEL too
    assert "pixel_decoder: starts at random" in other.stderr


def test_a_long_step_or_evaluation_says_what_it_is_at(mix, tmp_path, monkeypatch):
    monkeypatch.setattr("umedpt_core.engine.progress.PATIENCE", 0)
    done = umedpt("pretrain", mix, "--output", tmp_path / "run", "--workers", 0)
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    first = lines.index("step 0/1  evaluating shapes-classification, batch 1 of 1")
    trained = lines.index("step 0/1  trained on shapes-classification")
    assert first < trained < lines.index("step 1/1  evaluating shapes-classification, batch 1 of 1")


def test_a_mix_shows_its_defaults(mix):
    shown = umedpt("mix", "show", mix, "--set", "optimizer.lr=1e-4")
    assert shown.exit_code == 0
    assert "lr: 0.0001" in shown.stdout
    assert "norm: layernorm" in shown.stdout


@pytest.mark.parametrize(
    ("content", "words", "says"),
    [
        ("tasks: [{task: shapes-classificaton}]", (), "did you mean 'shapes-classification'?"),
        ("tasks: [{task: kits}]", (), "try: pip install umedpt-task-kits"),
        ("tasks: [{task: bccd}]\nepoch: 3", (), "{mix}: unknown key 'epoch'"),
        ("tasks: [{task: bccd, batchsize: 3}]", (), "{mix}: unknown key 'tasks.0.batchsize'"),
        ("tasks: [{task: bccd, batch_size: 0}]", (), "tasks.0.batch_size: input should be"),
        ("tasks: [{task: bccd}, {task: bccd}]", (), "'bccd' is listed twice; use repeats: 2"),
        ("tasks: []", (), "{mix}: tasks: "),
        ("tasks: [", (), "{mix}: no valid YAML"),
        ("- bccd", (), "{mix}: a mix is a mapping"),
        ("norm: batchnorm\ntasks: [{task: bccd}]", (), "no norm named 'batchnorm'"),
        ("requires: [umedpt-task-amos>=1]\ntasks: [{task: bccd}]", (), "pip install 'umedpt-task"),
        ("requires: [umedpt-core>=7]\ntasks: [{task: bccd}]", (), "pip install 'umedpt-core>=7'"),
        ("tasks: [{task: bccd, augmentation: odd}]", (), "no augmentation named 'odd'"),
        ("tasks: [{task: bccd, options: {zoom: 2}}]", (), "bccd has no options; remove zoom"),
        (
            "tasks: [{task: shapes-detection, options: {cases: x}}]",
            (),
            "shapes-detection: options.cases",
        ),
        ("encoder: {name: resnet5000}\ntasks: [{task: bccd}]", (), "no encoder 'resnet5000'; near"),
        ("encoder: {name: vit_tiny_patch16_224}\ntasks: [{task: bccd}]", (), "no feature pyramid"),
        (
            "encoder: {pretrained: no.pth}\ntasks: [{task: bccd}]",
            (),
            "no.pth: no such weights file",
        ),
        ("tasks: [{task: bccd}]", ("--set", "optimizer.lr"), "write it as key.sub=value"),
        ("tasks: [{task: bccd}]", ("--set", "tasks.dsb.weight=2"), "the mix has no task 'dsb'"),
        ("tasks: [{task: bccd}]", ("--root", "dsb=/x"), "--root names 'dsb'"),
        ("tasks: [{task: bccd}]", ("--root", "bccd=/nowhere"), "no data for bccd at /nowhere; to"),
        ("tasks: [{task: bccd}]", ("--device", "tpu9"), "try --device cpu"),
    ],
)
def test_wrong_configuration_is_one_line_and_exit_2(data, tmp_path, content, words, says):
    mix = tmp_path / "mix.yaml"
    mix.write_text(content)
    result = umedpt("pretrain", mix, "--output", tmp_path / "run", *words)
    assert result.exit_code == 2, result.output
    assert says.format(mix=mix) in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_read_is_one_line(data, tmp_path):
    for place, says in (("pneumonia/train", "pneumonia"), ("bccd/BCCD/ImageSets", "bccd")):
        (data / place).rename(data / "gone")
        task = place.split("/")[0]
        mix = tmp_path / "mix.yaml"
        mix.write_text(f"tasks: [{{task: {task}}}]")
        result = umedpt("mix", "check", mix)
        assert result.exit_code in (1, 2), result.output
        assert says in result.stderr
        assert result.stderr.count("\n") == 1
        (data / "gone").rename(data / place)


def test_without_a_data_root_the_error_says_how_to_set_one(mix, tmp_path, monkeypatch):
    monkeypatch.delenv("UMEDPT_DATA", raising=False)
    result = umedpt("adapt", "random:resnet10t", "bccd", "--output", tmp_path / "p")
    assert result.exit_code == 2
    assert "set --data-root or UMEDPT_DATA" in result.stderr


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("runs/none", "no model at 'runs/none' (no such folder)"),
        ("timm:resnet10t@no.pth", "no.pth: no such weights file"),
        ("random:none", "timm has no encoder 'none'"),
    ],
)
def test_a_wrong_model_is_one_line_and_exit_2(tmp_path, model, says):
    result = umedpt("adapt", model, "shapes-detection", "--output", tmp_path / "p")
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_sigterm_saves_and_says_how_to_go_on(tmp_path, mix):
    run = tmp_path / "run"
    code = (
        "import os, signal\n"
        "from umedpt_core.engine.progress import Progress\n"
        "Progress.step = lambda self, step: os.kill(os.getpid(), signal.SIGTERM)\n"
        "from umedpt_core.cli import main\n"
        "main()\n"
    )
    words = ["pretrain", str(mix), "--output", str(run), "--set", "epochs=9", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done.stderr
    assert "stopped after step 1 of 9, all saved" in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["step-00000001"]


@pytest.mark.skipif("UMEDPT_TEST_DATA" not in os.environ, reason="UMEDPT_TEST_DATA is not set")
def test_one_step_on_the_real_data(tmp_path):
    root = Path(os.environ["UMEDPT_TEST_DATA"])
    mix = tmp_path / "mix.yaml"
    names = ("bccd", "chestxray14", "dsb2018-detection", "dsb2018-segmentation", "pneumonia")
    tasks = ", ".join(f"{{task: {name}, batch_size: 2, eval_cases: 2}}" for name in names)
    mix.write_text(f"{SMALL}tasks: [{tasks}]\n")
    result = umedpt("pretrain", mix, "--output", tmp_path / "r", "--data-root", root,
                    "--workers", 1, "--set", "image_size=64")  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = [
        json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()
    ]
    start = {r["task"]: r["loss"] for r in rows if r["event"] == "train"}
    assert set(start) == set(names)
    assert all(0.7 < loss < 1.3 for loss in start.values()), start


def test_a_dry_run_shows_every_task_and_writes_nothing(mix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = umedpt("pretrain", mix, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "shapes-classification" in done.stdout
    assert "held up by" in done.stdout.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before
    missing = umedpt("pretrain", mix)
    assert missing.exit_code == 2
    assert "--output" in missing.stderr
