"""Algorithm 1, the schedule, and what a run leaves behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import umedpt_core as umedpt
from umedpt_core.blocks.shared import SharedBlocks
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.data.tasks import make_label
from umedpt_core.engine import checkpoint as checkpoints
from umedpt_core.engine.events import read_events
from umedpt_core.engine.model import Model, load_blocks
from umedpt_core.engine.progress import Progress
from umedpt_core.engine.schedule import Schedule, Turn, tickets
from umedpt_core.engine.train import train
from umedpt_core.errors import Interrupted
from umedpt_core.mix import ScheduleSettings
from umedpt_core.specs import resolve

ENCODER = "mobilenetv3_small_050"
SMALL = [
    f"encoder.name={ENCODER}",
    "decoders={pixels: 8, pyramid: 8}",
    "epochs=2",
    "steps_per_epoch=3",
    "log_every=2",
    "image_size=32",
]


@pytest.fixture(scope="module")
def catalogue():
    return umedpt.load_catalogue()


def small_mix(catalogue, *settings: str, tasks: tuple[str, ...] = ("suite:shapes",)) -> umedpt.Mix:
    mix = umedpt.Mix.compose(catalogue, tasks, settings=SMALL)
    entries = [{"task": e.task, "batch_size": 2, "options": {"cases": 20}} for e in mix.tasks]
    return umedpt.Mix.parse(mix.model_dump(mode="json") | {"tasks": entries}, settings)


class Recorder:
    """Stands for a run and its optimizer: notes losses, and the gradients at each step."""

    seed = 0

    def __init__(self, model: Model) -> None:
        self.model, self.losses, self.gradients = model, [], []

    def record(self, batch, loss) -> None:
        self.losses.append(loss)

    def before_update(self) -> None:
        pass

    def end_step(self) -> bool:
        return False

    def step(self) -> None:
        self.gradients.append({n: p.grad.clone() for n, p in self.model.named_parameters()
                               if p.grad is not None})  # fmt: skip

    def zero_grad(self, set_to_none: bool) -> None:
        self.model.zero_grad(set_to_none=set_to_none)


@pytest.fixture(scope="module")
def float64(catalogue):
    """A model of all four label types in float64, and a batch for each."""
    torch.manual_seed(0)
    swap = resolve(catalogue.norms["layernorm"].spec.swap)
    blocks = SharedBlocks(ENCODER, pixels=8, pyramid=8, swap=swap)
    rng = np.random.default_rng(0)
    labels, batches = {}, []
    for name in catalogue.select(["suite:shapes"]):
        spec = catalogue.tasks[name].spec
        labels[name] = make_label(spec, catalogue.label_types[spec.label_type].spec)
        raw = [labels[name].random_target((64, 32), rng) for _ in range(2)]
        target = labels[name].collate([labels[name].check(t, (64, 32))[0] for t in raw])
        batches.append(Batch(Ticket("train", name, 0), torch.rand(2, 3, 64, 32).double(), target,
                             ("a", "b")))  # fmt: skip
    return Model(blocks, labels, seed=0).double(), batches


def test_accumulated_gradients_are_those_of_the_summed_loss_in_any_order(float64):
    model, batches = float64
    model.eval()  # no drop path: the losses are then functions of the weights alone
    model.zero_grad()
    sum(model.loss(batch) for batch in batches).backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    for order in permutations(batches):
        last = order[-1].ticket._replace(ends_step=True)
        stream = [*order[:-1], Batch(last, order[-1].x_BCHW, order[-1].target, ("a", "b"))]
        recorder = Recorder(model)
        model.train = lambda mode=True: model  # keep the model as it is
        train(model, stream, recorder, recorder)
        del model.train
        (found,) = recorder.gradients
        assert found.keys() == expected.keys()
        scale = max(float(g.abs().max()) for g in expected.values())
        worst = max(float((found[n] - expected[n]).abs().max()) for n in expected)
        assert worst / scale < 1e-10


def test_an_empty_batch_still_reaches_the_update(float64):
    model, batches = float64
    empty = Batch(batches[0].ticket._replace(ends_step=True), torch.empty(0), None)
    recorder = Recorder(model)
    train(model, [batches[1], empty, batches[2], empty], recorder, recorder)
    assert len(recorder.gradients) == 2
    assert [loss is None for loss in recorder.losses] == [False, True, False, True]


turns = st.lists(
    st.builds(
        Turn,
        st.sampled_from("abcdef"),
        st.integers(1, 3),
        st.floats(0.1, 9),
        cases=st.integers(1, 999),
    ),
    min_size=1,
    unique_by=lambda turn: turn.task,
)


settings_of_schedules = st.builds(
    ScheduleSettings,
    name=st.sampled_from(["cyclic", "traditional", "balanced", "weighted"]),
    update=st.none() | st.integers(1, 9),
)


@given(turns, st.integers(0, 50), st.randoms())
def test_every_cyclic_step_has_every_task_and_listing_order_means_nothing(turns, step, random):
    size = sum(turn.repeats for turn in turns)
    found = Schedule(turns).step(step)
    random.shuffle(turns)
    assert found == Schedule(turns).step(step)
    assert [t.ends_step for t in found] == [False] * (size - 1) + [True]
    for turn in turns:
        mine = [t for t in found if t.task == turn.task]
        assert [t.number for t in mine] == list(
            range(step * turn.repeats, (step + 1) * turn.repeats)
        )


@given(turns, settings_of_schedules, st.integers(0, 9))
def test_every_schedule_counts_each_tasks_batches_without_a_gap(turns, settings, seed):
    schedule = Schedule(turns, settings, seed)
    steps = [schedule.step(number) for number in range(12)]
    counts = Counter()
    for number, step in enumerate(steps):
        assert schedule.before(number) == Counter({t.task: counts[t.task] for t in turns})
        assert {ticket.step for ticket in step} == {number}
        assert [ticket.ends_step for ticket in step] == [False] * (len(step) - 1) + [True]
        assert len(step) == schedule.batches_per_step
        for ticket in step:
            assert ticket.number == counts[ticket.task]
            counts[ticket.task] += 1
        for turn in turns:
            mine = [ticket for ticket in step if ticket.task == turn.task]
            assert [ticket.repeat for ticket in mine] == list(range(len(mine)))
            if mine:
                assert sum(ticket.weight for ticket in mine) == pytest.approx(turn.weight)
    assert Schedule(turns, settings, seed).step(11) == steps[11]  # from any step on


def test_traditional_training_steps_after_every_batch():
    schedule = Schedule([Turn("a"), Turn("b", 2)], ScheduleSettings(name="traditional"))
    assert [[t.task for t in schedule.step(n)] for n in range(4)] == [["a"], ["b"], ["b"], ["a"]]


@pytest.mark.parametrize(("name", "share"), [("balanced", 0.9), ("weighted", 0.25)])
def test_random_schedules_keep_their_shares(name, share):
    turns = [Turn("large", 1, cases=900), Turn("small", 3, cases=100)]
    settings = ScheduleSettings(name=name, update=4)
    drawn = Schedule(turns, settings, 0).before(2000)
    assert drawn["large"] / 8000 == pytest.approx(share, abs=0.02)
    assert Schedule(turns, settings, 1).before(2000) != drawn


@given(turns, settings_of_schedules, st.integers(1, 4), st.integers(1, 4), st.integers(0, 11))
def test_a_resumed_schedule_is_the_rest_of_the_whole(turns, settings, epoch, epochs, step):
    step = min(step, epoch * epochs)
    schedule = Schedule(turns, settings)
    batches = {turn.task: 2 for turn in turns}
    whole = list(tickets(schedule, 0, epoch * epochs, epoch, batches, evaluate_first=True))
    rest = list(tickets(schedule, step, epoch * epochs, epoch, batches, evaluate_first=False))
    assert whole[len(whole) - len(rest) :] == rest
    assert sum(s[0].split == "train" for s in rest) == epoch * epochs - step


@pytest.fixture(scope="module")
def finished(catalogue, tmp_path_factory):
    """One small run, for the tests that only look."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    return umedpt.pretrain(small_mix(catalogue), folder, catalogue=catalogue, workers=0, quiet=True)


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def test_a_run_leaves_what_the_docs_say(finished, catalogue):
    rows = read_events(finished)
    names = {
        "shapes-classification",
        "shapes-detection",
        "shapes-multilabel",
        "shapes-segmentation",
    }
    for step in (1, 2, 3, 4, 6):
        here = [r for r in rows if (r["event"], r["step"]) == ("train", step)]
        assert {r["task"] for r in here} == names, step
        assert {r["epoch"] for r in here} == {1 if step < 4 else 2}
    evaluations = [r for r in rows if r["event"] == "eval"]
    assert [r["step"] for r in evaluations] == [0] * 4 + [3] * 4 + [6] * 4
    assert all(r["split"] == "val" and r["n"] == 2 for r in evaluations)
    for row in evaluations[4:]:
        label_type = row["task"].removeprefix("shapes-")
        headline = catalogue.label_types[label_type].spec.metrics[0]
        assert headline in row or label_type in ("detection", "multilabel")  # nothing to measure
    assert rows[-1]["event"] == "end"
    assert umedpt.Mix.load(finished / "mix.yaml") == small_mix(catalogue)
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["plugins"]["umedpt-task-shapes"] == "0.1.0"
    files = {p.name for p in finished.rglob("*") if p.is_file() and "tensorboard" not in p.parts}
    assert files == {
        *("mix.yaml", "environment.json", "metrics.jsonl", "predictions.png", "config.json"),
        *("model.safetensors", "optimizer.safetensors", "state.json"),
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_weights_depend_neither_on_workers_nor_on_listing_order(
    finished, catalogue, tmp_path, workers
):
    mix = small_mix(catalogue)
    mix = mix.model_copy(update={"tasks": mix.tasks[::-1]})
    run = umedpt.pretrain(mix, tmp_path / "r", catalogue=catalogue, workers=workers, quiet=True)
    assert weights(run) == weights(finished)


@pytest.mark.parametrize("step", [2, 3])
def test_ctrl_c_then_resume_gives_the_same_weights_and_rows(
    finished, catalogue, tmp_path, monkeypatch, step
):
    def interrupt(progress, now):
        if now == step:
            os.kill(os.getpid(), signal.SIGINT)

    run = tmp_path / "r"
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "step", interrupt)
        with pytest.raises(Interrupted, match="--resume"):
            umedpt.pretrain(small_mix(catalogue), run, catalogue=catalogue, workers=1, quiet=True)
    assert not (run / "model").exists()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "train", "step": 99}\n{"event": "tr')  # as a killed process leaves it
    umedpt.pretrain(
        small_mix(catalogue), run, catalogue=catalogue, resume=True, workers=0, quiet=True
    )
    assert weights(run) == weights(finished)

    def comparable(folder):  # a stop logs what it has; timing differs
        return [
            {k: v for k, v in row.items() if k != "seconds"}
            for row in read_events(folder)
            if row["event"] == "eval"
        ]

    assert comparable(run) == comparable(finished)
    assert max(row["step"] for row in read_events(run)) == 6


def test_resume_refuses_another_mix_and_names_the_key(finished, catalogue):
    other = small_mix(catalogue, "optimizer.lr=0.5", "tasks.shapes-detection.repeats=2")
    with pytest.raises(umedpt.ConfigError) as error:
        umedpt.pretrain(other, finished, catalogue=catalogue, resume=True)
    assert "optimizer.lr: 0.001 there, 0.5 here" in str(error.value)
    assert "tasks.shapes-detection.repeats: 1 there, 2 here" in str(error.value)


def test_resume_of_a_finished_run_changes_nothing(finished, catalogue):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    umedpt.pretrain(small_mix(catalogue), finished, catalogue=catalogue, resume=True)
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*")} == before


def test_resume_without_a_checkpoint_starts(finished, catalogue, tmp_path):
    run = tmp_path / "r"
    run.mkdir()
    shutil.copy(finished / "mix.yaml", run)
    half = run / "checkpoints" / ".writing-x"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    umedpt.pretrain(
        small_mix(catalogue), run, catalogue=catalogue, resume=True, workers=0, quiet=True
    )
    assert weights(run) == weights(finished)


def test_output_that_exists_is_refused(finished, catalogue, tmp_path):
    with pytest.raises(umedpt.ConfigError, match="add --resume"):
        umedpt.pretrain(small_mix(catalogue), finished, catalogue=catalogue)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(umedpt.ConfigError, match="is no run"):
        umedpt.pretrain(small_mix(catalogue), tmp_path, catalogue=catalogue, resume=True)


def _tiny():
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    model, optimizer = _tiny()
    first = checkpoints.save_checkpoint(tmp_path, {"model": model}, optimizer, {"step": 1}, 2)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(umedpt.UmedptError, match=r"No space left.*free some space"):
        checkpoints.save_checkpoint(tmp_path, {"model": model}, optimizer, {"step": 2}, 2)
    assert checkpoints.list_checkpoints(tmp_path) == [first]
    assert list(tmp_path.iterdir()) == [first]


def test_checkpoints_round_trip_keep_two_and_name_damage(tmp_path):
    model, optimizer = _tiny()
    for step in (1, 2, 3):
        path = checkpoints.save_checkpoint(tmp_path, {"model": model}, optimizer, {"step": step}, 2)
    assert [p.name for p in checkpoints.list_checkpoints(tmp_path)] == [
        "step-00000002",
        "step-00000003",
    ]
    assert set(load_file(path / "optimizer.safetensors")) == {
        f"{key}:{name}" for key in ("step", "exp_avg", "exp_avg_sq") for name in ("weight", "bias")
    }
    other, fresh = _tiny()
    assert checkpoints.load_checkpoint(path, {"model": other}, fresh) == {"step": 3}
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        a, b = optimizer.state[mine], fresh.state[theirs]
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    (path / "model.safetensors").write_bytes(b"\0" * 9)
    with pytest.raises(umedpt.UmedptError, match="damaged"):
        checkpoints.load_checkpoint(path, {"model": other}, fresh)


def pneumonia(tmp_path: Path) -> Path:
    root = tmp_path / "pneumonia"
    root.mkdir()
    resolve("umedpt_task_pneumonia.data:make_fake")(root, 0)
    return root


def test_a_corrupt_case_is_reported_once_and_too_many_stop_the_run(catalogue, tmp_path):
    root = pneumonia(tmp_path)
    mix = umedpt.Mix.compose(catalogue, ["pneumonia"], settings=[*SMALL, "steps_per_epoch=8"])
    mix = umedpt.Mix.parse(mix.model_dump(mode="json"), ["skip_limit=0.3"])
    files = sorted((root / "train").rglob("*.jp*g"))
    files[0].write_bytes(files[0].read_bytes()[:200])
    run = umedpt.pretrain(
        mix, tmp_path / "a", catalogue=catalogue, data_root=tmp_path, workers=0, quiet=True
    )
    skips = [row for row in read_events(run) if row["event"] == "skip"]
    assert [row["case"] for row in skips] == [str(files[0].relative_to(root))]
    assert read_events(run)[-1]["skipped"] == {"pneumonia": 1}
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(umedpt.UmedptError, match=r"pneumonia: .* cases cannot be used.*skip_limit"):
        umedpt.pretrain(
            mix, tmp_path / "b", catalogue=catalogue, data_root=tmp_path, workers=0, quiet=True
        )


def test_a_diverging_loss_stops_the_run_by_name(catalogue, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "loss", lambda self, batch: self.heads[batch.ticket.task].weight
                        .sum() * float("nan"))  # fmt: skip
    monkeypatch.setattr("umedpt_core.engine.run.Run.evaluate", lambda self: None)
    mix = small_mix(catalogue, tasks=("shapes-classification",))
    with pytest.raises(umedpt.UmedptError, match=r"shapes-classification is nan.*optimizer\.lr"):
        umedpt.pretrain(mix, tmp_path / "r", catalogue=catalogue, workers=0, quiet=True)


def test_select_best_keeps_the_epoch_of_the_lowest_mean_loss(catalogue, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(
        "umedpt_core.engine.run.evaluate",
        lambda model, batches: {
            name: {"loss": loss}
            for loss in [next(losses)]
            for name in model.labels
            if list(batches)
        },
    )
    mix = small_mix(catalogue, "select=best", tasks=("shapes-segmentation",))
    run = umedpt.pretrain(mix, tmp_path / "r", catalogue=catalogue, workers=0, quiet=True)
    kept = load_file(run / "model" / "model.safetensors")
    for step, same in ((3, True), (6, False)):
        saved = load_file(run / "checkpoints" / f"step-0000000{step}" / "model.safetensors")
        assert all(torch.equal(saved[name], kept[name]) for name in kept) is same


def test_a_failing_logger_is_dropped_and_training_goes_on(tmp_path):
    from umedpt_core.engine.events import Events

    class Bad:
        def log(self, event):
            raise RuntimeError("no")

    warnings = []
    events = Events(tmp_path, [Bad()], warnings.append)
    events.emit("train", step=1, loss=float("nan"))
    events.emit("train", step=2, loss=1.0)
    events.close()
    assert read_events(tmp_path) == [
        {"event": "train", "step": 1},
        {"event": "train", "step": 2, "loss": 1.0},
    ]
    assert len(warnings) == 1
    assert "Bad" in warnings[0]


def test_five_lines_of_python(tmp_path):
    catalogue = umedpt.load_catalogue()
    mix = umedpt.Mix.compose(catalogue, ["shapes-classification"], settings=SMALL)
    run = umedpt.pretrain(mix, tmp_path / "run", catalogue=catalogue)
    report = umedpt.adapt(
        str(run),
        "shapes-classification",
        tmp_path / "probe",
        settings=umedpt.AdaptSettings(epochs=2),
    )
    assert 0 <= report["metrics"]["accuracy"] <= 1


def test_a_model_made_with_other_versions_says_so(finished, catalogue, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(finished / "model", model)
    config = json.loads((model / "config.json").read_text())
    assert config["plugins"]["umedpt-norm-layernorm"] == "0.1.0"
    config["plugins"]["umedpt-norm-layernorm"] = "9.0"
    (model / "config.json").write_text(json.dumps(config))
    told = []
    load_blocks(str(model), catalogue, ["embedding"], warn=told.append)
    assert told == [f"{model} was made with umedpt-norm-layernorm 9.0, installed is 0.1.0"]
    (model / "config.json").write_text("{}")
    with pytest.raises(umedpt.ConfigError, match="the model cannot be read"):
        load_blocks(str(model), catalogue, ["embedding"])
