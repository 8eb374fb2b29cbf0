"""Bringing a model to a task: features, the frozen head, fine-tuning, choosing an epoch."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import umedpt_core as umedpt
from umedpt_core import AdaptSettings, adapt
from umedpt_core.cli import cli
from umedpt_core.data.loader import cut
from umedpt_core.data.tasks import open_task
from umedpt_core.engine.model import Model, load_blocks, load_model, load_tasks
from umedpt_core.errors import Interrupted
from umedpt_core.transfer.adapt import open_splits
from umedpt_core.transfer.cases import training_cases
from umedpt_core.transfer.features import Features
from umedpt_core.transfer.frozen import mean_loss, predictions
from umedpt_core.transfer.loading import Loading
from umedpt_core.transfer.partial import RANK, LowRank, add_low_rank, merge_low_rank

TINY, SHAPES = "random:resnet10t", "shapes-classification"
LABELS = ("classification", "multilabel", "segmentation", "detection")


@pytest.fixture(scope="module")
def catalogue():
    return umedpt.load_catalogue()


def settings(**given):
    return AdaptSettings(**{"epochs": 2, "image_size": 64, "resamples": 20} | given)


def probe(folder, task=SHAPES, model=TINY, subset=None, **given):
    keywords = {k: given.pop(k) for k in ("features", "resume", "keep_model") if k in given}
    chosen = settings(**given)
    keywords |= {"subset": subset, "workers": 0, "quiet": True}
    return adapt(model, task, folder, settings=chosen, **keywords)


def damage(monkeypatch, name):
    """Let a case be unreadable."""

    def broken(task, case, *rest):
        if case.id == name:
            raise ValueError("damaged")
        return cut(task, case, *rest)

    monkeypatch.setattr("umedpt_core.data.loader.cut", broken)


def loading_of(catalogue, task, **splits):
    data = open_task(catalogue, task, ("val",), image_size=64, batch_size=8)
    data.cases["val"] = data.cases["val"][:12]
    return Loading(data, 0, None, 0, torch.device("cpu"), lambda batch: None)


@pytest.mark.parametrize("label", LABELS)
def test_kept_features_stand_for_the_blocks(catalogue, tmp_path, label):
    task = f"shapes-{label}"
    loading = loading_of(catalogue, task)
    needs = catalogue.label_types[label].spec.blocks
    blocks, _ = load_blocks(TINY, catalogue, needs)
    model = Model(blocks, {task: loading.data.label}, 0).eval()
    head = model.heads[task]
    kept = Features(torch.device("cpu"))
    for batch in loading.evaluation("val"):
        kept.add(blocks, batch)
    kept.save(tmp_path / "kept.safetensors")
    for features in (kept, Features.load(tmp_path / "kept.safetensors", torch.device("cpu"))):
        assert features.ids == [case.id for case in loading.data.cases["val"]]
        direct = list(predictions(loading.data.label, head, blocks, loading.evaluation("val")))
        again = list(
            predictions(loading.data.label, head, features, features.batches(range(12), 8))
        )
        assert [ids for *_, ids in again] == [ids for *_, ids in direct]
        torch.testing.assert_close([pair[:2] for pair in again], [pair[:2] for pair in direct])
        losses = [
            mean_loss(loading.data.label, head, source, batches)
            for source, batches in (
                (blocks, loading.evaluation("val")),
                (features, features.batches(range(12), 8)),
            )
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    (tmp_path / "kept.safetensors").write_bytes(b"damaged")
    assert Features.load(tmp_path / "kept.safetensors", torch.device("cpu")) is None


def test_a_batch_of_features_has_one_image_size():
    kept = Features(torch.device("cpu"))
    kept.ids = list("abcde")
    kept._sizes = [(32, 32), (32, 64), (32, 32), (32, 64), (32, 32)]
    kept._images = [[n] for n in range(5)]
    kept._targets = [torch.tensor([n]) for n in range(5)]
    batches = list(kept.batches([4, 3, 2, 1, 0], 2))
    assert [batch.ids for batch in batches] == [("e", "c"), ("d", "b"), ("a",)]
    assert [batch.target.tolist() for batch in batches] == [[4, 2], [3, 1], [0]]


def test_features_of_another_call_serve_this_one(tmp_path, monkeypatch):
    damage(monkeypatch, training_cases(umedpt.load_catalogue(), SHAPES)[1][0].id)
    first = probe(tmp_path / "a", features=tmp_path / "features", keep_model=False)
    files = {
        file: file.stat().st_mtime_ns for file in (tmp_path / "features").glob("*.safetensors")
    }
    assert len(files) == 2
    again = probe(tmp_path / "b", features=tmp_path / "features", keep_model=False)
    other = probe(tmp_path / "c", features=tmp_path / "features", model="random:resnet14t")
    assert {file: file.stat().st_mtime_ns for file in files} == files
    assert len(list((tmp_path / "features").glob("*.safetensors"))) == 4
    assert first["metrics"] == again["metrics"] != other["metrics"]
    assert first["skipped"] == again["skipped"] == 1
    assert not (tmp_path / "a" / "model").exists()
    plain = probe(tmp_path / "d")
    assert plain["metrics"] == first["metrics"]


def test_too_large_features_are_computed_again_with_like_result(tmp_path, monkeypatch):
    kept = probe(tmp_path / "kept", epochs=8, probe_lr=1e-2)
    monkeypatch.setattr("umedpt_core.transfer.stages.FEATURES_BYTES", 1)
    anew = probe(tmp_path / "anew", epochs=8, probe_lr=1e-2)
    assert kept["metrics"]["loss"] == pytest.approx(anew["metrics"]["loss"], abs=0.02)


@pytest.mark.parametrize("mode", ["frozen", "finetune", "lora"])
def test_the_epoch_is_chosen_also_without_kept_features(tmp_path, monkeypatch, mode):
    monkeypatch.setattr("umedpt_core.transfer.stages.FEATURES_BYTES", 1)
    few = [case.id for case in training_cases(umedpt.load_catalogue(), SHAPES)[1][:40]]
    report = probe(tmp_path / "out", mode=mode, val=True, epochs=3, updates=2, subset=few)
    further = 0 if mode == "frozen" else 2
    assert report["steps"] == 3 + further  # epochs of the head, then updates
    assert 1 <= report["chosen"] <= (further or 3)
    assert load_model(str(tmp_path / "out"), umedpt.load_catalogue()).heads


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_no_epoch_is_chosen_on_nothing(tmp_path, monkeypatch, mode):
    """One held-out case is all there is, and it cannot be read."""
    cases = training_cases(umedpt.load_catalogue(), SHAPES)[1]
    split = open_splits(
        umedpt.load_catalogue(),
        umedpt.load_catalogue().tasks[SHAPES].spec,
        settings(val=True),
        [case.id for case in cases[:9]],
        keep_all=False,
    )
    (held,) = split.cases["val"]
    damage(monkeypatch, held.id)
    few = [case.id for case in cases[:9]]
    with pytest.raises(umedpt.DataError, match="no held-out case can be used; leave out --val"):
        probe(tmp_path / "out", mode=mode, val=True, subset=few)
    with pytest.raises(umedpt.DataError, match="1 training cases are of one patient"):
        probe(tmp_path / "one", mode=mode, val=True, subset=few[:1])


@pytest.mark.parametrize("mode", ["finetune", "lora"])
def test_what_a_mode_trains(catalogue, tmp_path, mode):
    report = probe(tmp_path / "out", mode=mode, updates=2, lr=1e-3, batch_size=8)
    blocks, _ = load_blocks(TINY, catalogue, ["embedding"])
    before = blocks.state_dict()
    after = load_model(str(tmp_path / "out"), catalogue).blocks.state_dict()
    assert before.keys() == after.keys()  # low-rank additions are merged
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    thin = {name for name in before if before[name].ndim == 4 and before[name].shape[2:] == (1, 1)}
    assert changed <= thin if mode == "lora" else len(changed) > len(thin)
    assert changed
    assert report["steps"] == 2 + 2
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").open()]
    assert [row["event"] for row in rows][-2:] == ["eval", "pictures"]


def test_biases_need_biases(tmp_path):
    with pytest.raises(umedpt.ConfigError, match="no biases"):
        probe(tmp_path / "none", mode="bitfit")
    report = probe(tmp_path / "some", mode="bitfit", model="random:convnext_atto", updates=1)
    assert math.isfinite(report["metrics"]["loss"])


@pytest.mark.parametrize(
    "layer", [torch.nn.Linear(12, 20), torch.nn.Conv2d(12, 20, 1)], ids=["linear", "convolution"]
)
def test_a_low_rank_addition_starts_at_nothing_and_merges(layer):
    weight = layer.weight.detach().clone()
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", LowRank(layer.weight))
    torch.testing.assert_close(layer.weight, weight)
    addition = layer.parametrizations.weight[0]
    torch.nn.init.normal_(addition.up)
    difference = (layer.weight - weight).flatten(1)
    assert torch.linalg.matrix_rank(difference.detach()) == RANK
    torch.nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    torch.testing.assert_close((layer.weight - weight).flatten(1), difference)


def test_merged_blocks_compute_the_same(catalogue):
    blocks, _ = load_blocks(TINY, catalogue, ["embedding"])
    blocks.eval()
    for parameter in add_low_rank(blocks, seed=0):
        torch.nn.init.normal_(parameter, std=0.1)
    x_BCHW = torch.rand(2, 3, 64, 64)
    before = blocks.embedding(x_BCHW)
    merge_low_rank(blocks)
    torch.testing.assert_close(blocks.embedding(x_BCHW), before)


def test_the_epoch_is_chosen_on_held_out_patients(catalogue, tmp_path):
    chosen = settings(val=True)
    data = open_splits(catalogue, catalogue.tasks[SHAPES].spec, chosen, None, keep_all=False)
    patients = {split: {case.patient for case in data.cases[split]} for split in data.cases}
    assert not patients["train"] & patients["val"]
    assert patients["all"] == patients["train"] | patients["val"]
    assert not patients["all"] & patients["test"]
    everything = training_cases(catalogue, SHAPES)[1]
    assert len(data.cases["all"]) == len(everything)
    # On few cases at a high rate the head overfits: an early epoch is the best, and is reported.
    few = [case.id for case in everything[:40]]
    report = probe(tmp_path / "out", val=True, epochs=60, probe_lr=0.1, subset=few)
    assert 1 <= report["chosen"] < 60
    assert report["metrics"] != report["last"]["metrics"]
    model = str(tmp_path / "out")
    assert load_model(model, catalogue).heads
    assert load_tasks(model)[SHAPES].instances.size == (64, 64)  # for predict


def test_a_subset_is_all_that_is_trained_on(catalogue, tmp_path):
    _, cases = training_cases(catalogue, SHAPES)
    names = [case.id for case in cases[:9]]
    report = probe(tmp_path / "out", subset=names)
    assert report["train_cases"] == 9
    with pytest.raises(umedpt.ConfigError, match="'nobody', which is no training case"):
        probe(tmp_path / "no", subset=["nobody"])


def test_fine_tuning_resumes_where_it_stopped(tmp_path):
    words = ["adapt", TINY, "shapes-classification", "--mode", "finetune", "--epochs", "20"]
    words += ["--image-size", "32", "--lr", "1e-3", "--workers", "0", "--fraction", "10"]
    words += ["--resamples", "0", "--val"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run = [sys.executable, "-c", "from umedpt_core.cli import main; main()"]
    subprocess.run([*run, *words, "--output", whole], check=True, timeout=120)
    process = subprocess.Popen([*run, *words, "--output", parts], stderr=subprocess.PIPE, text=True)
    log = parts / "metrics.jsonl"
    while not (log.exists() and '"step": 26' in log.read_text()):  # 20 epochs of the head, then 2
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "all saved" in said
    assert not (parts / "metrics.json").exists()
    again = CliRunner().invoke(cli, [*words, "--output", str(parts)])
    assert again.exit_code == 2
    assert "--resume" in again.output
    other = CliRunner().invoke(cli, [*words, "--lr", "1", "--output", str(parts), "--resume"])
    assert other.exit_code == 2
    assert "lr: 0.001 there, 1.0 here" in other.output
    subprocess.run([*run, *words, "--output", parts, "--resume"], check=True, timeout=120)
    first, second = (json.loads((f / "metrics.json").read_text()) for f in (whole, parts))
    assert first["metrics"] == second["metrics"]
    assert first["chosen"] == second["chosen"]
    assert first["steps"] == second["steps"]
    finished = CliRunner().invoke(cli, [*words, "--output", str(parts), "--resume"])
    assert finished.exit_code == 0


@pytest.mark.parametrize("split", ["all", "test"])
def test_a_stop_while_the_blocks_are_fixed_leaves_nothing_behind(tmp_path, monkeypatch, split):
    def stop(self, name):
        if name == split:
            os.kill(os.getpid(), signal.SIGINT)
        return evaluation(self, name)

    evaluation = Loading.evaluation
    monkeypatch.setattr(Loading, "evaluation", stop)
    with pytest.raises(Interrupted, match="starts anew"):
        probe(tmp_path / "out")
    monkeypatch.undo()
    assert probe(tmp_path / "out")["n"] > 0


def test_a_stop_while_scoring_goes_on_from_the_checkpoint(tmp_path, monkeypatch):
    def stop(self, name):
        if name == "test":
            os.kill(os.getpid(), signal.SIGINT)
        return evaluation(self, name)

    evaluation = Loading.evaluation
    monkeypatch.setattr("umedpt_core.transfer.finetune.SAVE_EVERY", -1)
    # Without kept features: the resumed run does not train the head again, but counts it.
    monkeypatch.setattr("umedpt_core.transfer.stages.FEATURES_BYTES", 1)
    few = [case.id for case in training_cases(umedpt.load_catalogue(), SHAPES)[1][:40]]
    chosen = {"mode": "lora", "val": True, "updates": 3, "subset": few, "keep_model": False}
    whole = probe(tmp_path / "whole", **chosen)
    monkeypatch.setattr(Loading, "evaluation", stop)
    with pytest.raises(Interrupted, match="stopped; go on with --resume"):
        probe(tmp_path / "out", **chosen)
    monkeypatch.setattr(Loading, "evaluation", evaluation)
    resumed = probe(tmp_path / "out", **chosen, resume=True)
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}


def test_after_a_full_disk_it_goes_on(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("umedpt_core.transfer.adapt.save_model", full)
    with pytest.raises(umedpt.UmedptError, match="free some space, then go on with --resume"):
        probe(tmp_path / "out")
    monkeypatch.undo()
    assert probe(tmp_path / "out", resume=True)["n"] > 0
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "file").touch()
    for place in ("mine", "file"):
        with pytest.raises(umedpt.ConfigError, match="not empty; choose another folder"):
            probe(tmp_path / place)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give either a TASK or --folder DIR"),
        (["shapes-detection", "--draw", "1"], "give one"),
        (["shapes-detection", "--fraction", "5", "--draws", "none.json"], "none.json"),
        (["no-such-task"], "no task named 'no-such-task'"),
        (["shapes-detection", "--lr", "10"], "--lr: input should be less than 10, got 10.0"),
        (["shapes-detection", "--probe-lr", "nan"], "--probe-lr: input should be"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path, words, says):
    result = CliRunner().invoke(cli, ["adapt", TINY, *words, "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert says in result.output
    assert "Traceback" not in result.output


def test_whole_volumes_are_scored_too(tmp_path):
    data = Path(os.environ.get("UMEDPT_TEST_DATA", ""))
    if not (data / "msd").is_dir():
        pytest.skip("UMEDPT_TEST_DATA has no msd")
    task = "msd-hippocampus"
    cases = training_cases(umedpt.load_catalogue(), task, data_root=data)[1]
    report = adapt(
        TINY,
        task,
        tmp_path / "out",
        settings=settings(image_size=32, epochs=1),
        subset=[case.id for case in cases[:2]],
        data_root=data,
        workers=0,
        quiet=True,
    )
    assert {"volume_dice", "volume_miou"} <= report["metrics"].keys()
    assert np.isfinite(report["metrics"]["volume_miou"])
