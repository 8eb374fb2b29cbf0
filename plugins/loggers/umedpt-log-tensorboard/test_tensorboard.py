import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from umedpt_log_tensorboard.writer import open_writer

from umedpt_core.engine.events import Events, forget_after, read_events
from umedpt_core.testing import Conformance

BEGUN = [
    {"event": "eval", "step": 0, "epoch": 0, "split": "val", "task": "a", "loss": 1.1, "n": 4,
     "dice": 0.25, "dice_baseline": 0.125, "auc/Mass": 0.5},
    {"event": "train", "step": 1, "epoch": 1, "split": "train", "task": "a", "loss": 0.9,
     "seconds": 0.01, "waited": 0.002},
    {"event": "train", "step": 1, "epoch": 1, "split": "train", "task": "b", "loss": 0.7},
    {"event": "skip", "step": 1, "epoch": 1, "split": "train", "task": "a", "case": "x.png",
     "reason": "damaged"},
]  # fmt: skip
LOST = [
    {"event": "train", "step": 2, "epoch": 1, "split": "train", "task": "a", "loss": 7.0},
    {"event": "train", "step": 3, "epoch": 1, "split": "train", "task": "a", "loss": 8.0},
]
ENDED = [
    {"event": "train", "step": 2, "epoch": 1, "split": "train", "task": "a", "loss": 0.5},
    {"event": "eval", "step": 2, "epoch": 1, "split": "val", "task": "a", "loss": 0.6, "n": 4,
     "dice": 0.75},
    {"event": "end", "step": 2, "epoch": 1, "skipped": {"a": 1}, "dropped": {"b": 3}},
    {"event": "pictures", "step": 2, "epoch": 1, "path": "predictions.png"},
]  # fmt: skip


def record(folder: Path, rows: list[dict]) -> None:
    """What a run does; a failing logger would be dropped with a warning."""
    warnings: list[str] = []
    events = Events(folder, [open_writer(folder)], warnings.append)
    for row in rows:
        events.emit(**row)
    events.close()
    assert warnings == []


def read(folder: Path, split: str = "") -> EventAccumulator:
    sizes = {"scalars": 0, "images": 0, "tensors": 0}
    return EventAccumulator(str(folder / "tensorboard" / split), sizes).Reload()


def scalars(folder: Path, split: str) -> dict[str, dict[int, float]]:
    """Tag to step to value; no step may be there twice."""
    found = {}
    accumulator = read(folder, split)
    for tag in accumulator.Tags()["scalars"]:
        rows = accumulator.Scalars(tag)
        found[tag] = {row.step: row.value for row in rows}
        assert len(found[tag]) == len(rows)
    return found


def expected(folder: Path, split: str) -> dict[str, dict[int, float]]:
    """The same from metrics.jsonl."""
    found: dict[str, dict[int, float]] = {}
    for row in read_events(folder):
        if row.get("split") != split or row["event"] == "skip":
            continue
        for name, value in row.items():
            if name in ("event", "split", "task", "step", "epoch"):
                continue
            first = name in ("loss", "seconds", "waited")
            tag = f"{name}/{row['task']}" if first else f"{row['task']}/{name}"
            found.setdefault(tag, {})[row["step"]] = float(np.float32(value))
    return found


@pytest.fixture
def picture(tmp_path):
    x_HWC = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(x_HWC).save(tmp_path / "predictions.png")
    return x_HWC


def test_scalars_are_those_of_the_jsonl(tmp_path, picture):
    record(tmp_path, [*BEGUN, *ENDED])
    train, val = scalars(tmp_path, "train"), scalars(tmp_path, "val")
    rate = train.pop("rate/steps_per_second")
    assert train == expected(tmp_path, "train")
    assert val == expected(tmp_path, "val")
    assert set(val) == {"loss/a", "a/n", "a/dice", "a/dice_baseline", "a/auc/Mass"}
    assert set(rate) == {1, 2}
    assert min(rate.values()) > 0


def test_texts_and_pictures(tmp_path, picture):
    record(tmp_path, [*BEGUN, *ENDED])

    def text(split, tag):
        (row,) = read(tmp_path, split).Tensors(f"{tag}/text_summary")
        return row.tensor_proto.string_val[0].decode()

    assert text("train", "skipped/a") == "x.png: damaged"
    assert text("", "end") == "a: 1 cases skipped\n\nb: 3 annotations dropped"
    (image,) = read(tmp_path).Images("predictions")
    (tmp_path / "again.png").write_bytes(image.encoded_image_string)
    assert image.step == 2
    with Image.open(tmp_path / "again.png") as again:
        assert (np.asarray(again) == picture).all()


def test_a_resumed_run_shows_nothing_twice(tmp_path, picture):
    record(tmp_path, [*BEGUN, *LOST])
    assert scalars(tmp_path, "train")["loss/a"][3] == 8
    forget_after(tmp_path, {"step": 1})  # as resuming from the checkpoint of step 1 does
    record(tmp_path, ENDED)
    train = scalars(tmp_path, "train")
    train.pop("rate/steps_per_second")
    assert train == expected(tmp_path, "train")
    assert list(train["loss/a"]) == [1, 2]
    assert scalars(tmp_path, "val") == expected(tmp_path, "val")


def test_a_run_that_starts_over_shows_nothing_of_before(tmp_path, picture):
    record(tmp_path, [*BEGUN, *LOST])
    forget_after(tmp_path, {})  # killed before its first checkpoint
    record(tmp_path, BEGUN)
    assert max(max(rows) for rows in scalars(tmp_path, "train").values()) == 1
    assert scalars(tmp_path, "val") == expected(tmp_path, "val")


def test_everything_lies_below_its_folder(tmp_path):
    record(tmp_path, BEGUN)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "tensorboard"}
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0]) == BEGUN[0]


class TestConformance(Conformance):
    distribution = "umedpt-log-tensorboard"
