"""Plugins of others, of every kind: distributions that the core has never heard of.

Their sources are in third_party/. They are installed as their users would do it, then listed,
checked and trained with.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from umedpt_core.blocks.shared import SharedBlocks
from umedpt_core.data.augment import Augmentation
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.specs import resolve

ROOT = Path(__file__).parents[1]
SOURCES = Path(__file__).parent / "third_party"
NAMES = {
    "umedpt-label-keypoints": ("label-types", "keypoints"),
    "umedpt-norm-rms": ("norms", "rms"),
    "umedpt-augment-flips": ("augmentations", "flips"),
    "umedpt-log-csv": ("loggers", "csv"),
    "umedpt-task-dots": ("tasks", "dots"),
    "umedpt-task-hippocampus-ratio": ("tasks", "hippocampus-ratio"),
    "umedpt-task-stains": ("tasks", "stains-segmentation"),
}
MIX = """
tasks:
- {task: dots, batch_size: 4, options: {cases: 40}}
- {task: shapes-classification, batch_size: 2, options: {cases: 20}}
norm: rms
encoder: {name: mobilenetv3_small_050}
decoders: {pixels: 8, pyramid: 8}
epochs: 1
steps_per_epoch: 3
image_size: 32
log_every: 1
"""
FAKES = {"msd": "fake:make_fake"}
CLASSES = ("red", "green", "blue")


@pytest.fixture(scope="module")
def site(shared_site):
    """Where pip has installed them, on the path."""
    folders = [str(SOURCES / name) for name in NAMES]
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    command = [sys.executable, "-m", "pip", *words, str(shared_site.folder), *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    invalidate_caches()
    return shared_site


def test_every_source_is_installed(site):
    assert {path.name for path in SOURCES.iterdir() if path.is_dir()} == set(NAMES)
    rows = json.loads(site.run("plugins", "--json").stdout)
    status = {row["distribution"]: row["status"] for row in rows}
    assert {status[name] for name in NAMES} == {"ok"}


@pytest.mark.parametrize("distribution", NAMES)
def test_they_are_listed(site, distribution):
    kind, name = NAMES[distribution]
    done = site.run(kind, "--json")
    assert done.returncode == 0, done.stderr
    assert name in [row["name"] for row in json.loads(done.stdout)]


@pytest.mark.parametrize("distribution", NAMES)
def test_they_pass_every_check(site, distribution):
    result = site.invoke("check", distribution, "--json")
    report = json.loads(result.stdout)
    assert [c for c in report["checks"] if c["status"] == "failed"] == []
    assert result.exit_code == 0
    skipped = {c["message"] for c in report["checks"] if c["status"] == "skipped"}
    expected = {
        "umedpt-task-dots": {"the data is generated, there is no folder"},
        "umedpt-augment-flips": {"the profile has no volume transforms"},
    }
    assert skipped == expected.get(distribution, set())


@pytest.fixture(scope="module")
def run(site):
    """The folder of a run that uses all of them, beside a first-party task."""
    mix, folder = site.folder / "mix.yaml", site.folder / "run"
    mix.write_text(MIX)
    done = site.run("pretrain", str(mix), "--output", str(folder), "--workers", "0")
    assert done.returncode == 0, done.stderr
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


def test_the_logger_writes_both_tasks(run):
    with (run / "losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tasks = ("dots", "shapes-classification")
    expected = [("val", "0")] + [("train", str(step)) for step in (1, 2, 3)] + [("val", "3")]
    assert [(row["split"], row["step"], row["task"]) for row in rows] == [
        (*event, task) for event in expected for task in tasks
    ]
    assert all(0.9 < float(row["loss"]) < 1.1 for row in rows[:2])
    assert all(np.isfinite(float(row["loss"])) for row in rows)


def test_the_label_types_metric_is_in_the_events(run):
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evals = [event for event in events if event["event"] == "eval" and event["task"] == "dots"]
    assert [event["step"] for event in evals] == [0, 3]
    for event in evals:
        assert 0 < event["distance"] < 32 * 2**0.5
        assert 0 < event["distance_baseline"] < 32
    assert events[-1]["skipped"] == {}
    assert events[-1]["dropped"] == {}


def test_the_norm_is_in_the_model(run):
    said = (run / "stderr.txt").read_text()
    assert "norm rms: replaced" in said
    assert "BatchNormAct2d" in said.split("norm rms: replaced")[1].splitlines()[0]


def test_what_is_not_first_party_is_on_record(run):
    plugins = json.loads((run / "environment.json").read_text())["plugins"]
    assert {plugins[name] for name in NAMES} == {"1.0.0"}


def test_targets_and_predictions_are_drawn(run):
    palette = [resolve("umedpt_core.drawing:colour")(c) for c in range(len(CLASSES))]
    with Image.open(run / "predictions.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"), int).reshape(-1, 3)
    for colour in palette:  # circles are drawn onto images of dark ground
        assert (np.abs(pixels - colour).max(1) < 30).sum() > 20


VOLUMES_AND_SLIDES = """
tasks:
- {task: hippocampus-ratio, batch_size: 2}
- {task: msd-hippocampus, batch_size: 4, eval_cases: 2}
- {task: stains-classification, batch_size: 4, eval_cases: 2}
- {task: stains-segmentation, batch_size: 4, eval_cases: 2}
encoder: {name: mobilenetv3_small_050}
decoders: {pixels: 8, pyramid: 8}
epochs: 2
steps_per_epoch: 3
image_size: 32
window: 3
"""


def test_volumes_bags_and_slides_train_and_resume_to_the_same_weights(site, tmp_path, monkeypatch):
    """Whole runs differ from a stopped one neither by workers nor by what the cache held."""
    monkeypatch.setenv("UMEDPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UMEDPT_DATA", str(tmp_path))
    for name in ("hippocampus-ratio", "msd", "stains"):
        resolve(f"umedpt_task_{name.replace('-', '_')}.{FAKES.get(name, 'data:make_fake')}")(
            tmp_path / name, 0
        )
    mix = tmp_path / "mix.yaml"
    mix.write_text(VOLUMES_AND_SLIDES)

    def train(folder: str, workers: int, *more: str, code: int = 0) -> bytes:
        words = ("--output", str(tmp_path / folder), "--workers", str(workers), *more)
        done = site.run("pretrain", str(mix), *words)
        assert done.returncode == code, done.stderr
        assert "cannot be used" not in done.stderr
        weights = tmp_path / folder / "model" / "model.safetensors"
        return weights.read_bytes() if weights.is_file() else b""

    whole = train("whole", 2)
    assert whole
    assert train("alone", 0) == whole
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "model")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "step-00000006")
    assert train("stopped", 1, "--resume") == whole
    assert [path.name for path in (tmp_path / "cache" / "cases").iterdir()] == ["lock"]


@pytest.fixture(scope="module")
def label(site):
    return resolve("umedpt_label_keypoints.head:Keypoints")(CLASSES)


class Fixed:
    """The images are their own pixel embeddings."""

    def pixels(self, x_BCHW):
        return x_BCHW


def batch_of(label, targets, x_BCHW):
    checked = [label.check(target, x_BCHW.shape[-2:])[0] for target in targets]
    ids = tuple(map(str, range(len(targets))))
    return Batch(Ticket("train", "dots", 0), x_BCHW, label.collate(checked), ids)


def points(xy, labels):
    return {"keypoints": np.array(xy, np.float32), "labels": np.array(labels)}


def test_a_flat_heatmap_costs_exactly_1_and_a_perfect_one_nothing(label):
    gaussians = resolve("umedpt_label_keypoints.head:gaussians")
    batch = batch_of(label, [points([[20, 11.5], [3, 0]], [2, 0])], torch.zeros(1, 3, 32, 48))
    assert float(label.loss(nn.Identity(), Fixed(), batch)) == pytest.approx(1, abs=1e-5)
    xy_C2 = batch.target[0].nan_to_num()
    batch.x_BCHW[:] = gaussians(xy_C2, (32, 48), 1.5).clamp(min=1e-30).log().view(1, 3, 32, 48)
    assert float(label.loss(nn.Identity(), Fixed(), batch)) == pytest.approx(0, abs=1e-5)
    assert label.predict(nn.Identity(), Fixed(), batch.x_BCHW)[0, [2, 0]].tolist() in (
        [[20, 11], [3, 0]],
        [[20, 12], [3, 0]],
    )


def test_nothing_known_is_finite_and_teaches_nothing(label):
    x_BCHW = torch.randn(2, 3, 32, 32, requires_grad=True)
    nothing = points(np.zeros((0, 2)), np.zeros(0, int))
    loss = label.loss(nn.Identity(), Fixed(), batch_of(label, [nothing] * 2, x_BCHW))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not x_BCHW.grad.any()


def test_the_distance_by_hand(label):
    metric = label.metric()
    assert metric.compute() == {}
    nan = torch.nan
    true_BC2 = torch.tensor([[[0, 0], [8, 8], [nan, nan]], [[4, 0], [nan, nan], [nan, nan]]])
    metric.update(torch.tensor([[3.0, 4], [8, 8], [1, 1]]).expand(2, 3, 2), true_BC2)
    assert metric.compute() == pytest.approx(
        {"distance": (5 + 0 + 17**0.5) / 3, "distance_baseline": (2 + 0 + 2) / 3}
    )
    assert metric.compute([1, 1]) == pytest.approx({"distance": 17**0.5, "distance_baseline": 0})
    assert label.classes_in(points([[1, 2], [3, 4]], [2, 0])) == {0, 2}


def test_points_outside_the_image_are_dropped_and_counted(label):
    raw = points([[48, 5], [47.5, 31], [np.nan, 1]], [0, 1, 2])
    target, dropped = label.check(raw, (32, 48))
    assert (target["keypoints"].tolist(), target["labels"].tolist()) == ([[47.5, 31]], [1])
    assert dropped == 2


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([[1, 2]], "no dict of N x 2 keypoints and labels"),
        ({"keypoints": [[1, 2, 3]], "labels": [0]}, "no dict of N x 2 keypoints and labels"),
        (points([[1, 2]], [0, 1]), "2 labels for 1 keypoints"),
        (points([[1, 2]], [0.5]), "labels of float64"),
        (points([[1, 2]], [3]), r"label 3 is outside the classes 0\.\.2"),
        (points([[1, 2], [3, 4]], [1, 1]), "a class has more than one keypoint"),
    ],
)
def test_targets_that_do_not_fit(label, bad, message):
    with pytest.raises(ValueError, match=message):
        label.check(bad, (32, 48))


def test_a_short_overfit_finds_the_dots(site, label):
    torch.manual_seed(0)
    swap, draw = resolve("umedpt_norm_rms.swap:swap"), resolve("umedpt_task_dots.data:draw_dots")
    scenes = [draw(seed) for seed in range(4)]
    x_BCHW = torch.from_numpy(np.stack([image for image, _, _ in scenes])).movedim(-1, 1) / 255
    batch = batch_of(label, [points(xy, colours) for _, xy, colours in scenes], x_BCHW)
    blocks = SharedBlocks("mobilenetv3_small_050", needs=["pixels"], pixels=8, swap=swap)
    head = label.head(blocks.dims)
    optimizer = torch.optim.AdamW([*blocks.parameters(), *head.parameters()], lr=3e-3)
    losses = []
    for _ in range(60):
        loss = label.loss(head, blocks, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert 0.9 < losses[0] < 1.1
    assert losses[-1] < 0.5 * losses[0]
    metric = label.metric()
    with torch.no_grad():
        metric.update(label.predict(head, blocks, x_BCHW), batch.target)
    values = metric.compute()
    assert values["distance"] < 0.5 * values["distance_baseline"]


def test_dots_move_with_the_image(site):
    draw = resolve("umedpt_task_dots.data:draw_dots")
    augmentation = Augmentation("umedpt_augment_flips.profile:image_transforms", "keypoints")
    seen = set()
    for seed in range(40):
        image, xy_N2, colours = draw(seed)
        moved, target = augmentation(image, points(xy_N2, colours), seed)
        assert target["labels"].tolist() == colours.tolist()
        for (x, y), colour in zip(target["keypoints"].astype(int), colours, strict=True):
            patch = moved[y - 3 : y + 4, x - 3 : x + 4, colour]
            assert (patch[[0, 3, 3, 3, 6], [3, 0, 3, 6, 3]] > 150).all()  # the rim too
        ways = [np.rot90(base, k) for base in (image, image[:, ::-1]) for k in range(4)]
        seen |= {number for number, way in enumerate(ways) if (way == moved).all()}
    assert seen == set(range(8))


def test_rectangles_are_not_turned_onto_their_side(site):
    image = np.arange(32 * 48 * 3, dtype=np.uint32).reshape(32, 48, 3).astype(np.uint8)
    augmentation = Augmentation("umedpt_augment_flips.profile:image_transforms", "none")
    moved = {augmentation(image, 0, seed)[0].tobytes() for seed in range(30)}
    ways = (image, image[::-1], image[:, ::-1], image[::-1, ::-1])
    assert moved == {way.tobytes() for way in ways}


@pytest.mark.parametrize(
    ("old", "shape", "dims"),
    [
        (nn.BatchNorm2d(6), (2, 6, 4, 4), (1, 2, 3)),
        (nn.GroupNorm(2, 6), (2, 6, 4, 4), (1, 2, 3)),
        (nn.LayerNorm(6), (2, 5, 6), (2,)),
    ],
)
def test_the_norm_divides_by_the_root_mean_square(site, old, shape, dims):
    new = resolve("umedpt_norm_rms.swap:swap")(old, 6)
    x = 5 + 3 * torch.randn(shape)
    torch.testing.assert_close(new(x), x / x.square().mean(dims, keepdim=True).sqrt())
    assert new.weight.shape == (6,)


def test_the_norm_knows_timms_norms_of_maps(site):
    layers = import_module("timm.layers")
    swap = resolve("umedpt_norm_rms.swap:swap")
    for old in (layers.LayerNorm2d(6), layers.RmsNorm2d(6)):
        assert swap(old, 6)(torch.randn(2, 6, 4, 4)).shape == (2, 6, 4, 4)


def test_a_resumed_run_appends_to_the_table(site, tmp_path):
    for step in (1, 2):
        logger = resolve("umedpt_log_csv.logger:CsvLogger")(tmp_path)
        event = {"step": step, "epoch": 1, "split": "train", "task": "t"}
        logger.log({**event, "event": "train", "loss": 0.5, "seconds": 0.1})
        logger.log({**event, "event": "eval"})  # its loss was not finite
        logger.log({"event": "end", "step": step})
        logger.close()
    lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert lines[0] == "step,epoch,split,task,loss"
    assert lines[1:] == ["1,1,train,t,0.5", "1,1,train,t,", "2,1,train,t,0.5", "2,1,train,t,"]


def test_the_core_and_its_plugins_know_nothing_of_them():
    pattern = re.compile("|".join(name.replace("-", "[-_]") for name in NAMES))
    files = [p for folder in ("umedpt_core", "plugins") for p in (ROOT / folder).rglob("*.py")]
    assert files
    assert [str(p) for p in files if pattern.search(p.read_text())] == []
