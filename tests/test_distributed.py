"""Several processes take the steps of one: gradients, weights, batches, stopping, failing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import umedpt_core as umedpt
from umedpt_core.data.batch import Ticket
from umedpt_core.engine.checkpoint import list_checkpoints
from umedpt_core.engine.distributed import Ranks, batches_of, join_ranks, share_out, tasks_of
from umedpt_core.engine.events import read_events
from umedpt_core.engine.pretrain import open_mix
from umedpt_core.engine.schedule import Schedule, Turn
from umedpt_core.engine.stream import Stream
from umedpt_core.mix import ScheduleSettings

HELPER = Path(__file__).with_name("ranks.py")
TASKS = tuple(f"shapes-{x}" for x in ("classification", "detection", "multilabel", "segmentation"))
SCHEDULES = ("cyclic", "traditional", "balanced", "weighted")
LIMIT = 150
"""Seconds for whatever is started here; the machine may be busy."""


@pytest.fixture(scope="module")
def mix(tmp_path_factory) -> Path:
    (text,) = re.findall(r'^SETTINGS = """$(.*?)^"""$', HELPER.read_text(), re.M | re.S)
    file: Path = tmp_path_factory.mktemp("mix") / "mix.yaml"
    file.write_text(text)
    return file


def start(*words: object, **variables: object) -> subprocess.CompletedProcess[str]:
    own = {"OMP_NUM_THREADS": "1", **{key: str(value) for key, value in variables.items()}}
    return subprocess.run(
        [str(word) for word in words],
        env=os.environ | own,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )


def torchrun(*words: object) -> subprocess.CompletedProcess[str]:
    """As docs/distributed.md has it."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    return start(*launcher, "--nproc-per-node", 2, *words, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1)


class Fake(Ranks):
    """One process of several that are not there."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world


# --- shares of the schedule


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.001, 9), min_size=1),
    st.integers(1, 5),
)
def test_no_process_has_more_than_the_mean_and_one_task(costs, world):
    owner = share_out(costs, world)
    assert owner.keys() == costs.keys()
    load = [sum(costs[task] for task in costs if owner[task] == rank) for rank in range(world)]
    assert max(load) <= sum(load) / world + max(costs.values()) + 1e-9
    assert owner == share_out(dict(reversed(costs.items())), world)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 3), min_size=1),
    st.sampled_from(SCHEDULES),
    st.integers(1, 5),
)
def test_every_process_ends_every_step_and_every_ticket_is_in_one_share(repeats, name, world):
    schedule = Schedule([Turn(*turn) for turn in repeats.items()], ScheduleSettings(name=name))
    owner = share_out(dict.fromkeys(repeats, 1.0), world)
    steps = [schedule.step(number) for number in range(4)]
    shares = [list(tasks_of(steps, Fake(rank, world), owner)) for rank in range(world)]
    for share in shares:
        assert [ticket.step for ticket in share if ticket.ends_step] == [0, 1, 2, 3]
        assert share[-1].ends_step
    plain = Counter(ticket._replace(ends_step=False) for step in steps for ticket in step)
    found = [t._replace(ends_step=False) for share in shares for t in share if t.task]
    assert Counter(found) == plain


@given(st.sampled_from(SCHEDULES), st.integers(1, 5))
def test_own_batches_weigh_together_what_one_batch_does(name, world):
    schedule = Schedule([Turn("a", 2, 3.0), Turn("b")], ScheduleSettings(name=name))
    step, none = schedule.step(0), Counter()
    shares = [list(batches_of([step], Fake(r, world), {}, none, none)) for r in range(world)]
    for task in {ticket.task for ticket in step}:
        together = sum(t.weight for share in shares for t in share if t.task == task)
        assert together == pytest.approx(sum(t.weight for t in step if t.task == task))


def contiguous(numbers: Iterable[int]) -> bool:
    """Whether these are all numbers from 0 on, each once."""
    found = sorted(numbers)
    return found == list(range(len(found)))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("worlds", [(2, 1, 3), (2, 3, 1), (1, 4, 2)])
def test_own_batches_go_on_with_another_number_of_processes(mix, monkeypatch, name, worlds):
    monkeypatch.setattr("umedpt_core.engine.stream.seconds_of", lambda *_: 1.0)
    settings = ["share=batches", f"schedule.name={name}", "steps_per_epoch=6"]
    plan = umedpt.Mix.load(mix, settings)
    tasks = open_mix(plan, umedpt.load_catalogue(), None, {})
    seen: dict[str, list[int]] = {task: [] for task in tasks}
    state: dict[str, object] = {}
    for world, stop in zip(worlds, (3, 7, 12), strict=True):
        streams = [Stream(plan, tasks, state, Fake(r, world), None) for r in range(world)]
        for stream in streams:
            for ticket in stream._tickets():
                if ticket.split == "train" and ticket.step < stop:
                    seen[ticket.task].append(ticket.number)
        consumed = streams[0].consumed(stop)
        assert all(stream.consumed(stop) == consumed for stream in streams)
        assert consumed == {task: len(numbers) for task, numbers in seen.items()}
        state = json.loads(json.dumps({"step": stop, "consumed": consumed, "evaluated": True}))
    assert all(contiguous(numbers) for numbers in seen.values())
    assert sum(map(len, seen.values())) > 12


def test_an_evaluation_is_shared_out_without_a_step():
    evaluation = [Ticket("val", task, number) for task in "ab" for number in range(2)]
    owner = {"a": 1, "b": 0}
    for share in (
        lambda ranks: tasks_of([evaluation], ranks, owner),
        lambda ranks: batches_of([evaluation], ranks, owner, {}, {}),
    ):
        assert list(share(Fake(0, 3))) == evaluation[2:]
        assert list(share(Fake(1, 3))) == evaluation[:2]
        assert list(share(Fake(2, 3))) == []


def test_processes_that_find_different_checkpoints_are_told_so(mix):
    class Apart(Fake):
        def gather(self, value):
            return [value, 3]

    plan = umedpt.Mix.load(mix)
    tasks = open_mix(plan, umedpt.load_catalogue(), None, {})
    with pytest.raises(umedpt.UmedptError, match=r"steps \[0, 3\].*all machines share"):
        Stream(plan, tasks, {}, Apart(0, 2), None)


def test_more_processes_than_gpus_is_one_line(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    with pytest.raises(umedpt.ConfigError, match=r"finds 1 GPU\(s\); start 1"), join_ranks():
        pass


# --- processes


@pytest.fixture(scope="module")
def trial(mix, tmp_path_factory) -> Path:
    """What the processes of ranks.py have written."""
    folder: Path = tmp_path_factory.mktemp("trial")
    done = start(sys.executable, HELPER, "trial", folder, MIX=mix)
    assert done.returncode == 0, done.stderr
    return folder


def codes(trial: Path, name: str) -> object:
    """The exit codes of a group, with what the processes said where one failed."""
    found = json.loads((trial / "codes.json").read_text())[name]
    for log in trial.glob(f"log-{name}*"):
        print(log.name, log.read_text(), sep="\n")
    return found


@pytest.mark.parametrize("ways", ["2", "4", "2-own"])
@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-6), ("float64", 1e-12)])
def test_three_steps_are_those_of_one_process(trial, precision, bound, ways):
    """In another order; 1: a failed batch; 4: a process without a task; own: twice the batches."""
    name = f"{precision}-{ways}"
    assert set(codes(trial, name)) == {0}
    found = json.loads((trial / f"{name}.json").read_text())
    assert len(found["gradients"]) == 3
    assert max(found["gradients"]) <= bound
    assert found["weights"] <= bound
    assert found["copies"] == 1  # all processes have the same weights, to the bit
    nobody = [["unused"], ["shapes-detection", "unused"], ["unused"]]
    assert found["unset"] == found["unset_alone"] == nobody


def test_own_batches_of_a_run_are_drawn_once_at_2_then_3_then_1_processes(trial):
    # SIGTERM reached one process: all stopped after the same step, and went on from there
    assert codes(trial, "sequence") == [[130, 130], [130, 130, 130], [0]]
    last = {2: 2, 3: 4}
    numbers: dict[str, list[int]] = {task: [] for task in TASKS}
    steps: dict[int, list[set[int]]] = {}
    for file in sorted(trial.glob("tickets-*")):
        world = int(file.name.split("-")[1])
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        steps.setdefault(world, []).append({step for step, *_ in rows})
        for _, task, number in rows:
            numbers[task].append(number)
    assert steps == {2: [{0, 1}] * 2, 3: [{2, 3}] * 3, 1: [{4, 5}]}
    assert {task: len(found) for task, found in numbers.items()} == {
        task: 12 * (2 if task == "shapes-detection" else 1) for task in TASKS
    }
    assert all(contiguous(found) for found in numbers.values())
    for world, step in last.items():
        for rank in range(world):
            text = (trial / f"log-{world}-{rank}").read_text()
            assert (f"stopped after step {step} of 6, all saved" in text) == (rank == 0)
            assert (f"step {step}/6" in text) == (rank == 0)  # progress
    assert (trial / "run" / "model").is_dir()


@pytest.fixture(scope="module")
def alone(mix, tmp_path_factory) -> Path:
    """A run of one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    return umedpt.pretrain(umedpt.Mix.load(mix), folder, workers=0, quiet=True)


def distance(run: Path, other: Path) -> float:
    """The relative error by norm of the final weights."""
    mine, theirs = (load_file(r / "model" / "model.safetensors") for r in (run, other))
    assert mine.keys() == theirs.keys()
    gap = sum(float((mine[key].double() - theirs[key].double()).square().sum()) for key in mine)
    return float((gap / sum(float(v.double().square().sum()) for v in theirs.values())) ** 0.5)


def measured(run: Path) -> dict[tuple[object, ...], dict[str, float]]:
    """The losses and metrics of a run."""
    return {
        (row["event"], row["step"], row["task"]): {
            key: value
            for key, value in row.items()
            if key not in ("event", "step", "task", "epoch", "split", "seconds", "waited")
        }
        for row in read_events(run)
        if row["event"] in ("train", "eval")
    }


def test_shared_tasks_give_the_run_of_one_process(mix, alone, tmp_path):
    script = Path(sysconfig.get_path("scripts"), "umedpt")
    run = tmp_path / "run"
    done = torchrun("--no-python", script, "pretrain", mix, "--output", run, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert distance(run, alone) <= 1e-6
    mine, theirs = measured(run), measured(alone)
    assert mine.keys() == theirs.keys()
    for key, values in theirs.items():
        assert mine[key] == pytest.approx(values, rel=1e-5, abs=1e-5), key
    rows = read_events(run)
    assert len(rows) == len(read_events(alone))  # only the first process writes
    for step in (1, 2, 3, 4, 6):
        assert len(re.findall(rf"^step {step}/6", done.stderr, re.MULTILINE)) == 1


def test_a_failure_ends_all_and_an_elastic_restart_goes_on(mix, alone, tmp_path):
    run = tmp_path / "run"
    words = ("pretrain", mix, "--output", run, "--workers", 0, "--resume")
    done = torchrun("--max-restarts", 1, HELPER, "fail", tmp_path, *words)
    assert (tmp_path / "failed").exists()
    assert done.returncode == 0, done.stderr
    assert "on purpose" in done.stderr
    assert [path.name for path in list_checkpoints(run / "checkpoints")] == [
        "step-00000003",
        "step-00000006",
    ]
    assert distance(run, alone) <= 1e-6
    assert measured(run).keys() == measured(alone).keys()
