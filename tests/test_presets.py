"""The paper's mixes: what each differs in, what is missing, and all of it trained on fakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

import umedpt_core as umedpt
from umedpt_core.cli import cli
from umedpt_core.engine.model import blocks_needed, build_blocks
from umedpt_core.engine.pretrain import open_mix
from umedpt_core.presets import PRESETS

TINY = ("encoder.name=resnet10t", "decoders.pixels=8", "decoders.pyramid=8")


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def names_in(mix: dict) -> list[str]:
    return [entry["task"] for entry in mix["tasks"]]


@pytest.fixture(scope="module")
def catalogue() -> umedpt.Catalogue:
    return umedpt.load_catalogue()


@pytest.fixture(scope="module")
def faked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole mix, written with fakes of all its data."""
    folder = tmp_path_factory.mktemp("presets")
    file, fakes = folder / "mix.yaml", folder / "fakes"
    settings = [word for key in TINY for word in ("--set", key)]
    made = run("mix", "new", "--preset", "umedpt", "--fake", fakes, "-o", file, *settings)
    assert made.exit_code == 0, made.output
    return file


def test_the_presets_are_the_suites_of_the_plugins(catalogue):
    """The paper: 15 datasets, 17 tasks."""
    whole = names_in(PRESETS["umedpt"])
    assert whole == catalogue.select(["suite:umedpt"])
    assert len(whole) == 17
    assert len({catalogue.tasks[name].distribution for name in whole}) == 15
    assert names_in(PRESETS["umedpt-clf"]) == catalogue.select(["suite:umedpt-clf"])
    for name in ("umedpt-fixed", "umedpt-affine"):
        assert names_in(PRESETS[name]) == whole
    assert set(PRESETS) == {"umedpt", "umedpt-fixed", "umedpt-affine", "umedpt-clf"}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_differ_in_what_they_should(preset, faked, catalogue):
    roots = {entry["task"]: entry["root"] for entry in yaml.safe_load(faked.read_text())["tasks"]}
    base = PRESETS[preset]
    mix = umedpt.Mix.compose(catalogue, names_in(base), settings=TINY, base=base)
    chosen = {name: roots[name] for name in names_in(base)}
    sizes = {task.instances.size for task in open_mix(mix, catalogue, None, chosen).values()}
    fixed = preset in ("umedpt-fixed", "umedpt-affine")
    assert sizes == {(224, 224)} if fixed else sizes > {224, 512}
    needs = blocks_needed(catalogue, names_in(base))
    blocks = build_blocks(catalogue, needs, mix.architecture, seed=0)
    parts = {name.split(".")[0] for name, _ in blocks.named_parameters()}
    assert (parts == {"encoder"}) == (preset == "umedpt-clf"), parts
    norms = [p for name, p in blocks.encoder.named_parameters() if ".bn" in name]
    assert bool(norms) == (preset == "umedpt-affine")


def test_the_whole_mix_trains_on_fakes(faked, tmp_path):
    settings = ["epochs=1", "steps_per_epoch=1", "image_size=64", "skip_limit=0.5"]
    for name in names_in(PRESETS["umedpt"]):
        settings += [f"tasks.{name}.batch_size=2", f"tasks.{name}.eval_cases=1"]
    words = [word for setting in settings for word in ("--set", setting)]
    done = run("pretrain", faked, "--output", tmp_path / "run", "--workers", 0, *words)
    assert done.exit_code == 0, done.output
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    losses = {row["task"]: row["loss"] for row in rows if row["event"] == "train"}
    assert sorted(losses) == names_in(PRESETS["umedpt"])
    assert all(0.4 < loss < 2 for loss in losses.values()), losses


def test_what_is_missing_is_one_list(site, monkeypatch, tmp_path):
    catalogue = site.load()
    for name in ("amos", "picai", "panda-classification", "panda-segmentation"):
        del catalogue.tasks[name]
    catalogue.plugins[:] = [
        plugin
        for plugin in catalogue.plugins
        if plugin.distribution.removeprefix("umedpt-task-") not in ("amos", "picai", "panda")
    ]
    monkeypatch.setattr("umedpt_core.cli.Settings.catalogue", catalogue)
    assert run("data", "fake", "brats", tmp_path / "brats").exit_code == 0
    (tmp_path / "bccd").mkdir()
    refused = run("mix", "new", "--preset", "umedpt", "--data-root", tmp_path)
    assert refused.exit_code == 2
    first, *others = refused.stderr.splitlines()
    packages = "umedpt-task-amos umedpt-task-panda umedpt-task-picai"
    assert first.endswith(f"; try: pip install {packages}")
    listed = "\n".join(others)
    assert f"no data for coco-detection, coco-segmentation at {tmp_path}/coco; to get it:" in listed
    assert "no data for crc" in listed
    assert "umedpt data fetch crc" in listed
    assert "brats at" not in listed
    kept = run("mix", "new", "--preset", "umedpt", "--data-root", tmp_path, "--available")
    assert kept.exit_code == 0, kept.output
    assert names_in(yaml.safe_load(kept.stdout)) == ["brats"]
    assert kept.stderr.splitlines()[1:] == others
    nothing = run("mix", "new", "bccd", "--available", "--data-root", tmp_path)
    assert nothing.exit_code == 2
    assert f"bccd: {tmp_path / 'bccd'}/ImageSets/Main/train.txt is missing" in nothing.stderr
    few = run("mix", "new", "--preset", "umedpt", "--exclude", "panda*", "--exclude", "amos",
              "--exclude", "picai", "--exclude", "label:segmentation")  # fmt: skip
    assert few.exit_code == 0, few.output
    assert len(yaml.safe_load(few.stdout)["tasks"]) == 9


def test_mixes_say_all_that_is_missing_at_once(tmp_path):
    file = tmp_path / "mix.yaml"
    file.write_text("tasks: [{task: kits}, {task: bccd}, {task: lits}]")
    refused = run("mix", "check", file)
    assert refused.exit_code == 2
    assert "no task named 'kits', 'lits'; try: pip install umedpt-task-kits umedpt-task-lits" in (
        refused.stderr
    )
    file.write_text("tasks: [{task: crc}, {task: bccd}, {task: cns}]")
    refused = run("mix", "check", file, "--data-root", tmp_path)
    assert refused.exit_code == 2
    assert all(f"no data for {name} at " in refused.stderr for name in ("bccd", "cns", "crc"))


def test_mix_new_refuses(tmp_path):
    assert "name tasks" in run("mix", "new").stderr
    (tmp_path / "fakes" / "bccd").mkdir(parents=True)
    (tmp_path / "fakes" / "bccd" / "mine").touch()
    refused = run("mix", "new", "bccd", "--fake", tmp_path / "fakes")
    assert refused.exit_code == 2
    assert "is not empty; name a new or an empty folder" in refused.stderr
