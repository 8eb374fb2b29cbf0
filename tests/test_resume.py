"""What a crash, a stop or a full disk leaves behind, and what goes on from there, bit for bit."""

from __future__ import annotations

import copy
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

import umedpt_core as umedpt
from umedpt_core.cli import cli
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.data.tasks import make_label
from umedpt_core.engine import checkpoint as checkpoints
from umedpt_core.engine import pretrain as engine
from umedpt_core.engine import run as running
from umedpt_core.engine.events import Events, forget_after, read_events
from umedpt_core.engine.model import Model, build_blocks
from umedpt_core.engine.optimizer import clip, make_optimizer, set_rate
from umedpt_core.engine.progress import Progress
from umedpt_core.engine.run import Run
from umedpt_core.errors import Interrupted
from umedpt_core.mix import Architecture, EncoderSettings, OptimizerSettings
from umedpt_core.specs import resolve

SMALL = """
encoder: {{name: {encoder}}}
decoders: {{pixels: 8, pyramid: 8}}
epochs: 2
steps_per_epoch: 3
log_every: 2
image_size: 32
tasks:
"""
TWO = ("shapes-classification", "shapes-segmentation")


def text(*tasks: str, encoder: str = "mobilenetv3_small_050") -> str:
    entry = "- {{task: {}, batch_size: 2, options: {{cases: 20}}, eval_cases: 1}}\n"
    return SMALL.format(encoder=encoder) + "".join(entry.format(t) for t in tasks or TWO)


def parse(*settings: str, tasks: tuple[str, ...] = TWO, **more: str) -> umedpt.Mix:
    return umedpt.Mix.parse(yaml.safe_load(text(*tasks, **more)), settings)


@pytest.fixture(scope="module")
def catalogue():
    return umedpt.load_catalogue()


@pytest.fixture(scope="module")
def go(catalogue):
    """Pretrain in this process."""

    def run(mix: umedpt.Mix, folder: Path, workers: int = 0, **options: object) -> Path:
        return umedpt.pretrain(
            mix, folder, catalogue=catalogue, workers=workers, quiet=True, **options
        )

    return run


@pytest.fixture(scope="module")
def whole(go, tmp_path_factory):
    """A run that nothing happened to."""
    return go(parse(), tmp_path_factory.mktemp("whole") / "run")


def contents(run: Path) -> tuple[bytes, list[dict[str, object]]]:
    """The final weights, and all rows without what the clock says."""
    rows = [
        {k: v for k, v in row.items() if k not in ("seconds", "waited")} for row in read_events(run)
    ]
    return (run / "model" / "model.safetensors").read_bytes(), rows


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Waiting for the disk shows nothing here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# Faults while saving


class Killed(BaseException):
    """The process is gone: nothing handles this, and nothing is written after it."""


class Faults:
    """Lets the `at`-th call that changes the disk fail; all later ones too where it is a kill.

    A call that writes leaves a part of what it was to write.

    Attributes:
        calls: How many there were.
        hit: The name of the one that failed.
        error: What it came to; empty where all went well.
    """

    def __init__(self, at: int, kind: str) -> None:
        self.at, self.kind, self.calls = at, kind, 0
        self.hit = self.error = ""
        self.patch = pytest.MonkeyPatch()

    def __enter__(self) -> Faults:
        for name in ("mkdir", "rename", "replace", "fsync", "unlink", "rmdir"):
            self.patch.setattr(os, name, self.wrap(name, getattr(os, name)))
        self.patch.setattr(Path, "write_text", self.wrap("write", Path.write_text, half_a_text))
        save = self.wrap("save", save_file, half_a_model)
        for module in ("checkpoint", "model"):
            self.patch.setattr(f"umedpt_core.engine.{module}.save_file", save)
        return self

    def __exit__(self, _, error, __) -> bool:
        self.patch.undo()
        self.error = "" if error is None else str(error)
        return isinstance(error, Killed | umedpt.UmedptError)

    def wrap(self, name, function, half=None):
        def call(*arguments, **options):
            self.calls += 1
            if self.calls == self.at:
                self.hit = name
                if half:
                    half(*arguments)
            if self.kind == "kill" and self.calls >= self.at:
                raise Killed(name)
            if self.calls == self.at:
                raise OSError(errno.ENOSPC, "No space left on device", name)
            return function(*arguments, **options)

        return call


def half_a_text(path: Path, content: str) -> None:
    path.write_bytes(content.encode()[: len(content) // 2])


def half_a_model(_: object, path: Path) -> None:
    path.write_bytes(b"\0" * 99)


def each_fault(kind: str):
    """A fault in the first call that changes the disk, then in the second, and so on to none."""
    for at in range(1, 200):
        fault = Faults(at, kind)
        yield at, fault
        if fault.calls < at:
            assert not fault.error
            assert at > 3
            return
    pytest.fail("it never gets through")


KINDS = pytest.mark.parametrize("kind", ["full", "kill"])


def make_state(value: float) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(model.weight, value)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer


def save(folder: Path, step: int, keep: int = 2, value: float | None = None) -> Path:
    model, optimizer = make_state(step if value is None else value)
    models = {"model": model, "average": model}
    return checkpoints.save_checkpoint(folder, models, optimizer, {"step": step}, keep)


def latest(folder: Path) -> int:
    """The step of the newest checkpoint, all of which must be as it was saved."""
    path = checkpoints.list_checkpoints(folder)[-1]
    model, optimizer = make_state(0)
    average = copy.deepcopy(model)
    state = checkpoints.load_checkpoint(path, {"model": model, "average": average}, optimizer)
    expected, moved = make_state(state["step"])
    for found in (model, average):
        assert torch.equal(found.weight, expected.weight)
    mine, theirs = optimizer.state[model.weight], moved.state[expected.weight]
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    return state["step"]


@KINDS
@pytest.mark.parametrize("keep", [1, 2])
def test_a_fault_at_any_point_of_a_save_leaves_a_whole_checkpoint(tmp_path, kind, keep):
    hit: Counter[str] = Counter()
    for at, fault in each_fault(kind):
        folder = tmp_path / str(at) / "checkpoints"
        for step in (1, 2):
            save(folder, step, keep)
        with fault:
            save(folder, 3, keep)
        hit[fault.hit] += 1
        if fault.error and kind == "full":
            assert "No space left" in fault.error
            assert "\n" not in fault.error
        assert latest(folder) in ((2, 3) if fault.error else (3,))
        save(folder, 4, keep)  # and nothing of the fault is left behind
        assert latest(folder) == 4
        left = [path.name for path in checkpoints.list_checkpoints(folder)]
        assert left[1:] == ["step-00000004"] if keep == 2 else left == ["step-00000004"]
        assert sorted(path.name for path in folder.iterdir()) == left
        files = {"model.safetensors", "average.safetensors", "optimizer.safetensors", "state.json"}
        assert all({file.name for file in path.iterdir()} == files for path in folder.iterdir())
    assert hit == {
        **{"mkdir": 1, "save": 3, "write": 1, "fsync": 6, "rename": 2},
        **{"unlink": 4, "rmdir": 1},  # of the old one
        "": 1,  # none is left to fail
    }


@KINDS
def test_a_fault_at_any_point_of_the_first_save_leaves_it_whole_or_none(tmp_path, kind):
    for at, fault in each_fault(kind):
        folder = tmp_path / str(at) / "checkpoints"
        with fault:
            save(folder, 1)
        if checkpoints.list_checkpoints(folder):
            assert latest(folder) == 1
        save(folder, 2)
        assert latest(folder) == 2
        assert {path.name[:5] for path in folder.iterdir()} == {"step-"}


@KINDS
def test_a_fault_while_a_checkpoint_is_replaced_leaves_it_or_the_one_before(tmp_path, kind):
    possible = [make_state(value)[0].weight for value in (1, 2, 7)]
    for at, fault in each_fault(kind):
        folder = tmp_path / str(at)
        save(folder, 1)
        save(folder, 2, value=7)
        with fault:
            save(folder, 2)
        weight = load_file(checkpoints.list_checkpoints(folder)[-1] / "model.safetensors")["weight"]
        assert any(torch.equal(weight, other) for other in possible)
        save(folder, 3)
        assert latest(folder) == 3
        assert {path.name[:5] for path in folder.iterdir()} == {"step-"}


@KINDS
@pytest.mark.parametrize("exists", [False, True])
def test_a_fault_at_any_point_of_saving_a_model_leaves_it_whole_or_none(
    catalogue, tmp_path, kind, exists
):
    mix = parse(tasks=("shapes-classification",))
    tasks = engine.open_mix(mix, catalogue, None, {})
    model = engine.build_model(mix, catalogue, tasks)

    def keep(folder: Path) -> dict[str, bytes]:
        engine._save(folder / "best", model, mix, tasks, catalogue)
        return files(folder)

    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (folder / "best").iterdir()}

    good = keep(tmp_path / "good")
    assert set(good) == {"model.safetensors", "config.json"}
    for at, fault in each_fault(kind):
        folder = tmp_path / str(at)
        folder.mkdir()
        if exists:
            shutil.copytree(tmp_path / "good" / "best", folder / "best")
        with fault:
            keep(folder)
        assert not (folder / "best").exists() or files(folder) == good
        assert keep(folder) == good
        assert [path.name for path in folder.iterdir()] == ["best"]


@KINDS
def test_a_fault_while_events_are_forgotten_leaves_a_whole_file(tmp_path, kind):
    rows = [{"event": "train", "step": step, "task": "a", "loss": 1.0} for step in range(9)]
    for _, fault in each_fault(kind):
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        with fault:
            forget_after(tmp_path, {"step": 4, "evaluated": True})
        assert read_events(tmp_path) in (rows, rows[:5])
        forget_after(tmp_path, {"step": 4, "evaluated": True})
        assert read_events(tmp_path) == rows[:5]
        assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_line_that_the_disk_has_no_room_for_is_one_error_and_is_forgotten(tmp_path):
    events = Events(tmp_path, [], print)
    events.emit("train", step=1, task="a", loss=1.0)
    size = (tmp_path / "metrics.jsonl").stat().st_size
    with disk_of(size + 9), pytest.raises(umedpt.UmedptError, match=r"metrics.jsonl.*free some"):
        events.emit("train", step=2, task="a", loss=1.0)
    events.close()
    assert read_events(tmp_path) == [{"event": "train", "step": 1, "task": "a", "loss": 1.0}]
    forget_after(tmp_path, {"step": 1})
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


@contextmanager
def disk_of(size: int):
    """No file of this process may grow beyond a number of bytes: the kernel's own refusal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize(
    ("what", "size"), [("mix.yaml", 300), ("checkpoints", 200_000), ("model", 200_000)]
)
def test_a_full_disk_is_one_line_and_exit_1_and_the_run_goes_on(whole, tmp_path, what, size):
    mix, run = tmp_path / "mix.yaml", tmp_path / "run"
    mix.write_text(text())
    if what == "model":  # all trained, only the model is missing
        shutil.copytree(whole, run)
        shutil.rmtree(run / "model")
    words = ["pretrain", str(mix), "--output", str(run), "--workers", "0"]
    with disk_of(size):
        result = CliRunner().invoke(cli, [*words, "--resume"])
    assert result.exit_code == 1, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: cannot write")
    assert what in last
    assert "File too large" in last
    assert "free some space" in last
    assert "Traceback" not in result.output
    assert not (run / "model").exists()
    result = CliRunner().invoke(cli, [*words, "--resume"])
    assert result.exit_code == 0, result.output
    assert contents(run) == contents(whole)


# Kills and stops of whole runs


def test_a_kill_before_anything_is_written_is_no_obstacle(go, whole, tmp_path):
    half = tmp_path / "run" / ".writing-mix.yaml"
    half.parent.mkdir()
    half.write_text("epo")
    go(parse(), tmp_path / "run")
    assert contents(tmp_path / "run") == contents(whole)
    assert not half.exists()


@pytest.mark.parametrize("event", ["eval", "train", "pictures", "end"])
def test_a_kill_after_any_kind_of_event_loses_and_repeats_none(
    go, whole, tmp_path, monkeypatch, event
):
    emit = Events.emit

    def emit_and_die(self, name, **fields):
        emit(self, name, **fields)
        if name == event and fields["step"] in (3, 6) and name not in seen:
            seen.append(name)
            raise Killed

    seen: list[str] = []
    monkeypatch.setattr(Events, "emit", emit_and_die)
    with pytest.raises(Killed):
        go(parse(), tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    go(parse(), tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == contents(whole)


def test_a_kill_while_the_best_model_is_taken_leaves_no_half_model(go, tmp_path):
    mix = parse("select=best", "epochs=1", "steps_per_epoch=1", tasks=("shapes-classification",))
    run = go(mix, tmp_path / "run")
    good = contents(run)
    for _, fault in each_fault("kill"):
        shutil.rmtree(run / "model", ignore_errors=True)
        with fault:
            go(mix, run, resume=True)
        assert not (run / "model").exists() or contents(run)[0] == good[0]
    assert contents(run) == good
    assert not list(run.glob(".*"))


def test_a_case_that_cannot_be_used_is_told_once_though_the_run_was_killed(
    go, tmp_path, monkeypatch
):
    root = tmp_path / "pneumonia"
    root.mkdir()
    resolve("umedpt_task_pneumonia.data:make_fake")(root, 0)
    files = sorted((root / "train").rglob("*.jp*g"))
    for file in files[::2]:
        file.write_bytes(file.read_bytes()[:200])
    tasks = [{"task": "pneumonia", "batch_size": 4, "eval_cases": 1}]
    mix = umedpt.Mix.parse(
        parse().model_dump(mode="json") | {"tasks": tasks}, ["skip_limit=0.9", "steps_per_epoch=1"]
    )
    emit = Events.emit

    def emit_and_die(self, name, **fields):
        emit(self, name, **fields)
        if name == "skip" and fields["step"] == 1:  # behind the checkpoint of the first step
            seen.append(name)
            raise Killed

    seen: list[str] = []
    run = tmp_path / "run"
    mix = mix.model_copy(update={"epochs": 6})
    with monkeypatch.context() as patch:
        patch.setattr(Events, "emit", emit_and_die)
        with pytest.raises(Killed):
            go(mix, run, data_root=tmp_path)
    assert read_events(run)[-1]["event"] == "skip"
    go(mix, run, data_root=tmp_path, resume=True)
    skips = [row["case"] for row in read_events(run) if row["event"] == "skip"]
    assert len(skips) > 3
    assert len(skips) == len(set(skips))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_stop_during_an_evaluation_changes_nothing(go, whole, tmp_path, monkeypatch, place):
    """Before the first step, in the middle, and after the last step."""
    evaluate = Run.evaluate
    calls: list[int] = []

    def stop_and_evaluate(self):
        calls.append(self.step)
        if len(calls) == place + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        evaluate(self)

    monkeypatch.setattr(Run, "evaluate", stop_and_evaluate)
    with pytest.raises(Interrupted, match="--resume"):
        go(parse(), tmp_path / "run")
    assert calls[-1] == 3 * place
    go(parse(), tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == contents(whole)


RATES = "optimizer={schedule: cosine, warmup: 2, clip: 0.5, layer_decay: 0.7}"
OPTIONS = {
    "balanced": ("schedule={name: balanced, update: 3}", "ema=0.9", RATES, "precision=bf16"),
    "weighted": ("schedule={name: weighted, update: 2}", "tasks.shapes-segmentation.repeats=3"),
    "traditional": ("schedule={name: traditional, update: 1}", "ema=0.5", RATES),
    "cyclic": ("schedule.update=3", "precision=bf16", "optimizer.layer_decay=0.5"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_resumes_to_the_same_bits(go, tmp_path, monkeypatch, name):
    mix = parse(*OPTIONS[name])
    go(mix, tmp_path / "whole")
    run = tmp_path / "stopped"

    def stop(progress, step):
        if step in (2, 4):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "step", stop)
        for workers in (1, 0):
            with pytest.raises(Interrupted):
                go(mix, run, workers, resume=True)
    assert [p.name[-1] for p in checkpoints.list_checkpoints(run / "checkpoints")] == ["3", "4"]
    go(mix, run, 2 if name == "balanced" else 0, resume=True)
    last = Path("checkpoints") / "step-00000006"
    names = sorted(path.name for path in (tmp_path / "whole" / last).iterdir())
    assert ("average.safetensors" in names) is bool(mix.ema)
    for file in (*(last / name for name in names), Path("model/model.safetensors")):
        assert (run / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    evaluations = [
        [row for row in read_events(folder) if row["event"] == "eval"]
        for folder in (run, tmp_path / "whole")
    ]
    assert evaluations[0] == evaluations[1]


KILLS = int(os.environ.get("UMEDPT_TEST_KILLS", "3"))


def test_kills_at_random_moments_lose_and_repeat_nothing(tmp_path):
    """Checkpoints of 60 MB after every step: kills while one is written, whenever, at the start."""
    mix, log = tmp_path / "mix.yaml", tmp_path / "log"
    mix.write_text(text(encoder="resnet10t"))
    steps = 3 * KILLS + 3
    folder = tmp_path / "killed"

    def start(run: Path, workers: int) -> subprocess.Popen[bytes]:
        words = ["pretrain", mix, "--output", run, "--workers", workers, "--resume"]
        settings = ["--set", f"epochs={steps}", "--set", "steps_per_epoch=1"]
        code = "from umedpt_core.cli import main; main()"
        with log.open("wb") as stderr:
            return subprocess.Popen(
                [sys.executable, "-c", code, *map(str, words), *settings],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stderr=stderr,
            )

    def wait_for(process: subprocess.Popen[bytes], run: Path, what: str) -> None:
        """For a new file or folder of a run."""
        began = time.time()
        while process.poll() is None:
            with suppress(FileNotFoundError):
                if any(path.stat().st_mtime > began for path in run.glob(what)):
                    return
            time.sleep(0.001)

    reference = start(tmp_path / "whole", 0)
    wait_for(reference, tmp_path / "whole", "metrics.jsonl")
    began = time.monotonic()
    assert reference.wait() == 0, log.read_text()
    pace = (time.monotonic() - began) / steps
    draw = np.random.default_rng(0)
    hits = []
    while True:
        process = start(folder, len(hits) % 2)
        if len(hits) < KILLS:
            when = ("while saving", "whenever", "at the start")[len(hits) % 3]
            delay = draw.uniform(0, {"while saving": 0.15, "whenever": 3 * pace}.get(when, 6))
            if when != "at the start":
                wait_for(process, folder, "metrics.jsonl")
            if when == "while saving":
                wait_for(process, folder, "checkpoints/.writing-*")
            with suppress(subprocess.TimeoutExpired):
                process.wait(delay)
            process.kill()
        code = process.wait()
        if code == 0:
            break
        assert code == -signal.SIGKILL, log.read_text()
        found = checkpoints.list_checkpoints(folder / "checkpoints")
        half = [path.name for path in folder.rglob(f"{checkpoints.UNFINISHED}*")]
        hits.append((when, found[-1].name if found else "none", *half))
    for hit in hits:
        print("killed", *hit)
    assert len(hits) >= min(KILLS, 2)
    assert contents(folder) == contents(tmp_path / "whole")
    assert not list(folder.rglob(f"{checkpoints.UNFINISHED}*"))


# Rates, clipping, averages, precision


def rates(steps: int, **settings: object) -> list[float]:
    settings = OptimizerSettings(lr=1.0, **settings)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([{"params": [weight], "scale": 0.5, "hold": 0}], lr=1)
    found = []
    for step in range(steps):
        set_rate(optimizer, settings, step, steps)
        found.append(2 * optimizer.param_groups[0]["lr"])
    return found


def test_rates_are_constant_unless_asked_for():
    assert rates(4) == [1, 1, 1, 1]


def test_rates_rise_over_the_warm_up():
    assert rates(6, warmup=3) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_a_cosine_falls_from_the_whole_rate_towards_0():
    found = rates(100, schedule="cosine", warmup=20)
    assert found[19] == pytest.approx(20 / 21)
    assert found[20] == 1
    assert found[60] == pytest.approx(0.5)
    assert found[20:] == sorted(found[20:], reverse=True)
    assert 0 < found[-1] < 1e-3
    assert rates(2, schedule="cosine", warmup=5) == pytest.approx([1 / 6, 2 / 6])


def test_gradients_are_clipped_by_their_common_norm():
    model = torch.nn.ParameterList([torch.zeros(2), torch.zeros(1)])

    def clipped(norm: float | None, scale: float) -> list[float]:
        model[0].grad, model[1].grad = torch.tensor([2.0, 4.0]) * scale, torch.tensor([4.0]) * scale
        clip(model, norm)
        return torch.cat([p.grad for p in model]).tolist()

    assert clipped(3.0, 1) == pytest.approx([1, 2, 2])
    assert clipped(3.0, 0.25) == [0.5, 1, 1]  # of norm 1.5
    assert clipped(None, 100) == [200, 400, 400]


@pytest.mark.parametrize(
    ("encoder", "stages"),
    [
        ("resnet10t", ("conv1.", "layer1.", "layer2.", "layer3.", "layer4.")),
        (
            "swin_tiny_patch4_window7_224",
            ("patch_embed.", *(f"layers.{stage}." for stage in range(4))),
        ),
    ],
)
def test_earlier_layers_learn_slower(catalogue, encoder, stages):
    architecture = Architecture(encoder=EncoderSettings(name=encoder))
    blocks = build_blocks(catalogue, {"embedding"}, architecture, 0)
    assert blocks.swap_report.replaced
    spec = catalogue.tasks["shapes-classification"].spec
    label = make_label(spec, catalogue.label_types["classification"].spec)
    model = Model(blocks, {"shapes-classification": label}, 0)
    optimizer = make_optimizer(model, OptimizerSettings(layer_decay=0.5))
    scales = {id(p): g["scale"] for g in optimizer.param_groups for p in g["params"]}
    listed = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())  # each in exactly one group
    found = []
    for stage in stages:
        own = {
            scales[id(p)]
            for name, p in blocks.encoder.net.named_parameters()
            if name.startswith(stage)
        }
        found.append((min(own), max(own)))
    assert all(high <= low for (_, high), (low, _) in pairwise(found))
    assert found[0][1] < found[-1][0] <= 1
    inside = {id(p) for p in blocks.encoder.net.parameters()}
    assert {scales[id(p)] for p in model.parameters() if id(p) not in inside} == {1.0}
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.05}
    set_rate(optimizer, OptimizerSettings(lr=2.0), 0, 1)
    assert all(g["lr"] == 2 * g["scale"] for g in optimizer.param_groups)


def test_a_held_encoder_stays_and_then_learns_at_its_own_rate(go, catalogue, tmp_path):
    settings = "optimizer={lr: 0.01, encoder_lr: 0.001, hold: 2}"
    start = engine.build_model(parse(), catalogue, engine.open_mix(parse(), catalogue, None, {}))
    before = {n: p.detach().clone() for n, p in start.named_parameters()}

    def moved(steps: int) -> dict[bool, float]:
        """The largest change of a weight, of the encoder and of the rest."""
        mix = parse(settings, f"steps_per_epoch={steps}", "epochs=1")
        run = go(mix, tmp_path / str(steps))
        weights = load_file(run / "model" / "model.safetensors")
        found = {True: 0.0, False: 0.0}
        for name, old in before.items():
            inside = name.startswith("blocks.encoder.net.")
            found[inside] = max(found[inside], float((weights[name] - old).abs().max()))
        return found

    held, let_go = moved(2), moved(3)
    assert held[True] == 0
    assert held[False] > 0.01
    assert 0 < let_go[True] < 0.002  # one update of Adam: its rate, and weight decay


def test_the_average_of_the_weights_is_what_is_evaluated_and_kept(
    go, catalogue, tmp_path, monkeypatch
):
    mix = parse("ema=0.75", "optimizer.lr=0.01")
    tasks = engine.open_mix(mix, catalogue, None, {})
    start = engine.build_model(mix, catalogue, tasks).state_dict()
    averages = [{name: value.clone() for name, value in start.items()}]
    end_step = Run.end_step
    evaluated = []

    def note_weights(run):
        now = run.model.state_dict()
        averages.append({k: torch.lerp(v, now[k], 0.25) for k, v in averages[-1].items()})
        return end_step(run)

    def note_model(model, batches):
        evaluated.append({k: v.clone() for k, v in model.state_dict().items()})
        return real(model, batches)

    real = running.evaluate
    monkeypatch.setattr(running, "evaluate", note_model)
    monkeypatch.setattr(Run, "end_step", note_weights)
    run = go(mix, tmp_path / "run")
    kept = load_file(run / "model" / "model.safetensors")
    last = load_file(run / "checkpoints" / "step-00000006" / "model.safetensors")
    for found, expected in zip((*evaluated, kept), (*averages[::3], averages[-1]), strict=True):
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    far = max(float((kept[name] - last[name]).abs().max()) for name in kept)
    assert far > 1e-3


@pytest.mark.parametrize(
    "name", ["bag", "classification", "detection", "multilabel", "regression", "segmentation"]
)
def test_a_loss_in_bf16_is_nearly_that_in_fp32(catalogue, name):
    spec = catalogue.label_types[name].spec
    label = resolve(spec.factory)(("a", "b", "c"), **spec.example)
    rng = np.random.default_rng(0)
    raw = [label.random_target((64, 64), rng) for _ in range(4)]
    target = label.collate([label.check(one, (64, 64))[0] for one in raw])
    x_BCHW = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    bags = (1, 3, 2, 2) if name == "bag" else ()
    images = x_BCHW if bags else x_BCHW[:4]
    batch = Batch(Ticket("train", "task", 0), images, target, tuple("abcd"), bags=bags)
    architecture = Architecture(encoder=EncoderSettings(name="resnet10t"))
    model = Model(build_blocks(catalogue, spec.blocks, architecture, 0), {"task": label}, 0)
    losses = []
    for model.bf16 in (False, True):
        torch.manual_seed(0)
        losses.append(float(model.loss(batch).detach()))
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert losses[1] != losses[0]


# --init-from


@pytest.fixture
def begin(go, monkeypatch):
    """The model and the optimizer with which a run would begin to train."""

    class Begun(Exception):
        pass

    def begin(mix: umedpt.Mix, folder: Path, **options: object):
        found = []

        def catch(model, batches, optimizer, run):
            found.extend((model, optimizer, run))
            raise Begun

        with monkeypatch.context() as patch:
            patch.setattr(engine, "train", catch)
            with pytest.raises(Begun):
                go(mix, folder, **options)
        return found

    return begin


def test_another_mix_starts_from_a_runs_weights_and_moments(whole, begin, tmp_path):
    other = parse("ema=0.9", "seed=5", tasks=("shapes-detection", "shapes-segmentation"))
    fresh, *_ = begin(other, tmp_path / "fresh")
    model, optimizer, run = begin(other, tmp_path / "run", init_from=whole)
    newest = whole / "checkpoints" / "step-00000006"
    weights, state = (load_file(newest / f"{n}.safetensors") for n in ("model", "optimizer"))
    anew = dict(fresh.named_parameters())
    started = 0
    for name, parameter in model.named_parameters():
        if name in weights:
            started += 1
            assert torch.equal(parameter, weights[name]), name
            moments = {key: state[f"{key}:{name}"] for key in optimizer.state[parameter]}
            assert moments.keys() == {"step", "exp_avg", "exp_avg_sq"}
            assert all(torch.equal(optimizer.state[parameter][k], v) for k, v in moments.items())
        else:
            assert name.startswith(("heads.shapes-detection.", "blocks.pyramid"))
            assert torch.equal(parameter, anew[name]), name
            assert not optimizer.state.get(parameter)
    assert any(name.startswith("heads.shapes-detection") for name in anew)
    assert any(name.startswith("heads.shapes-segmentation") and name in weights for name in anew)
    assert started > 50
    assert run.step == 0
    for name, value in run.average.module.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_a_resumed_run_does_not_start_from_the_other_again(go, whole, begin, tmp_path):
    mix = parse("epochs=1", "steps_per_epoch=1", "seed=3")
    run = go(mix, tmp_path / "run", init_from=whole)
    shutil.rmtree(run / "model")
    before = (run / "checkpoints" / "step-00000001" / "model.safetensors").read_bytes()
    go(mix, run, init_from=whole, resume=True)
    assert (run / "model" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("case", ["none", "damaged", "encoder"])
def test_a_run_that_gives_nothing_to_start_from_is_a_wrong_option(whole, tmp_path, case):
    there = tmp_path / "there"
    if case != "none":
        shutil.copytree(whole / "checkpoints", there / "checkpoints")
    if case == "damaged":
        for file in there.rglob("model.safetensors"):
            file.write_bytes(file.read_bytes()[:-9])
    encoder = "resnet10t" if case == "encoder" else "mobilenetv3_small_050"
    (tmp_path / "mix.yaml").write_text(text(encoder=encoder))
    words = ["pretrain", tmp_path / "mix.yaml", "--output", tmp_path / "run", "--workers", 0]
    result = CliRunner().invoke(cli, [*map(str, words), "--init-from", str(there)])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    says = {
        "none": "no run with a checkpoint",
        "damaged": "damaged",
        "encoder": "encoder's weights",
    }
    assert says[case] in result.stderr
    assert str(there) in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("keep", [1, 3])
def test_the_latest_checkpoints_are_kept(tmp_path, keep):
    for step in range(1, 6):
        save(tmp_path, step, keep)
    names = [f"step-0000000{step}" for step in range(6 - keep, 6)]
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path)] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == names
