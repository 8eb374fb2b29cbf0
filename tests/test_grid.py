"""A grid of adaptations: resumed, shared, extended, refused, collected."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from umedpt_core import ConfigError, UmedptError, load_catalogue
from umedpt_core.benchmark.cells import make_grid
from umedpt_core.benchmark.collect import collect, columns
from umedpt_core.benchmark.grid import run_grid
from umedpt_core.benchmark.prepare import prepare
from umedpt_core.benchmark.slurm import submit
from umedpt_core.benchmark.work import Workplace
from umedpt_core.cli import cli
from umedpt_core.transfer.draws import Draws
from umedpt_core.transfer.settings import AdaptSettings

TASK = "shapes-classification"
GRID = {
    "models": {"a": "random:resnet10t", "b": "random:resnet18"},
    "tasks": [TASK],
    "modes": ["frozen"],
    "fractions": [0.25, 1.0],
    "draws": 3,
    "options": {TASK: {"cases": 20}},
}
CELLS = 2 * 2 * 3

STUB = '''
"""Stands for umedpt_core.transfer.adapt in every process that has this folder on its path."""
import json, os, sys, time, types
from pathlib import Path

def adapt(model, task, output, *, settings, subset, **rest):
    place, cell = Path(__file__).parent, "/".join(output.parts[-4:])
    with (place / "log").open("a") as log:
        log.write(f"{cell} {os.getpid()}\\n")
    output.mkdir(parents=True)
    (output / "half").touch()
    deadline = time.monotonic() + 60
    while (place / "stop" / cell.replace("/", "+")).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    pids = {line.split()[1] for line in (place / "log").read_text().splitlines()}
    while (place / "both").exists() and len(pids) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
        pids = {line.split()[1] for line in (place / "log").read_text().splitlines()}
    if (place / "fail" / cell.replace("/", "+")).exists():
        raise ValueError("no such luck")
    report = {
        "task": task, "split": "test", "n": 7, "train_cases": len(subset), "seconds": 0.5,
        "metrics": {"loss": 0.7, "f1": 0.5, "f1_baseline": 0.25},
        "intervals": {"f1": [0.4, 0.6]}, "model": model, **settings.model_dump(),
    }
    (output / "metrics.json").write_text(json.dumps(report))
    return report

stub = types.ModuleType("umedpt_core.transfer.adapt")
stub.adapt = adapt
sys.modules[stub.__name__] = stub
'''
RUN = """
import json, sys
from umedpt_core import errors
from umedpt_core.benchmark.grid import run_grid
output, jobs, grid = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
try:
    run_grid(output, jobs=jobs, **grid)
except errors.UmedptError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


class Bench:
    """A grid's folder and a stubbed adapt, here and in other processes."""

    def __init__(self, tmp_path: Path) -> None:
        self.output, self.site = tmp_path / "grid", tmp_path / "site"
        self.site.mkdir()
        (self.site / "sitecustomize.py").write_text(STUB)

    def mark(self, what: str, cell: str) -> Path:
        """Let a cell ``stop`` (hang until the mark is gone) or ``fail``."""
        mark = self.site / what / cell.replace("/", "+")
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
        return mark

    def run(self, **changes: object) -> pd.DataFrame:
        return run_grid(self.output, quiet=True, **(GRID | changes))

    def start(self, jobs: int = 1) -> subprocess.Popen[str]:
        self.place()  # here, where torch is loaded already
        path = os.pathsep.join(filter(None, [str(self.site), os.environ.get("PYTHONPATH")]))
        words = [sys.executable, "-c", RUN, str(self.output), str(jobs), json.dumps(GRID)]
        env = os.environ | {"PYTHONPATH": path}
        return subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True)

    def starts(self) -> Counter[str]:
        """How often each cell was started."""
        log = self.site / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter(line.split()[0] for line in lines)

    def pids(self) -> set[int]:
        return {int(line.split()[1]) for line in (self.site / "log").read_text().splitlines()}

    def place(self) -> Workplace:
        catalogue = load_catalogue()
        grid = make_grid(catalogue, settings=AdaptSettings(), **GRID)
        return prepare(Workplace(self.output, grid, catalogue))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    scope = {"__file__": str(made.site / "sitecustomize.py")}
    monkeypatch.setitem(sys.modules, "umedpt_core.transfer.adapt", None)  # put back at the end
    exec(compile(STUB, "stub", "exec"), scope)  # noqa: S102
    return made


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_every_cell_is_computed_with_its_own_draw_and_seed_and_collected(bench):
    table = bench.run()
    assert list(table.columns) == columns()
    assert len(table) == CELLS * 2
    assert set(table.metric) == {"loss", "f1"}
    row = table[(table.metric == "f1") & (table.model == "b") & (table.draw == 2)].iloc[0]
    assert (row.source, row.fraction, row["mode"], row.seed) == (
        "random:resnet18",
        0.25,
        "frozen",
        2,
    )
    assert (row.value, row.low, row.high, row.baseline) == (0.5, 0.4, 0.6, 0.25)
    assert (row.n_test, row.label_type, row.epochs) == (7, "classification", 100)
    draws = Draws.load(bench.output / "draws" / f"{TASK}.json")
    assert row.n_train == len(draws.ids(0.25, 2)) < len(draws.ids(1.0, 2))
    assert table[table.metric == "loss"].baseline.isna().all()
    read = pd.read_csv(bench.output / "results.csv")
    pd.testing.assert_frame_equal(read.dropna(axis=1), table.dropna(axis=1), check_dtype=False)
    assert set(table.columns[table.isna().all()]) == {"updates", "image_size", "augmentation"}
    assert list(bench.starts())[:3] == [f"{TASK}/a/frozen/25-{draw}" for draw in range(3)]
    bench.run(results=bench.output / "all.parquet")
    assert len(pd.read_parquet(bench.output / "all.parquet")) == len(table)
    copy = bench.output / "cells" / TASK / "a" / "frozen" / "old"  # somebody put it aside
    shutil.copytree(copy.with_name("25-0"), copy)
    pd.testing.assert_frame_equal(collect(bench.output), table)
    assert set(bench.starts().values()) == {1}


def test_each_cell_has_a_key_of_its_own():
    percents = (0.1, 1, 5, 7, 7 + 1e-9, 12.5, 29, 57, 100)
    fractions = [percent / 100 for percent in percents]
    grid = make_grid(
        load_catalogue(), settings=AdaptSettings(), **(GRID | {"fractions": fractions})
    )
    keys = [cell.key for cell in grid.cells()]
    assert len(set(keys)) == len(keys) == 8 * 2 * 3
    shown = {key.split("/")[-1].split("-")[0] for key in keys}
    assert shown == {"0.1", "1", "5", "7", "12.5", "29", "57", "100"}


def test_a_killed_process_loses_only_its_cell(bench):
    cell = f"{TASK}/a/frozen/25-2"
    mark = bench.mark("stop", cell)
    process = bench.start()
    wait_for(lambda: cell in bench.starts())
    process.kill()
    process.communicate()
    done = sorted(bench.output.glob("cells/**/metrics.json"))
    times = {file: file.stat().st_mtime_ns for file in done}
    assert len(done) == 2
    mark.unlink()
    bench.run()
    assert {file: file.stat().st_mtime_ns for file in done} == times
    assert bench.starts().pop(cell) == 2
    assert sum(bench.starts().values()) == CELLS + 1
    assert len(list(bench.output.glob("cells/**/metrics.json"))) == CELLS


def test_two_processes_share_a_grid(bench):
    (bench.site / "both").touch()  # neither goes on until both are at work
    processes = [bench.start(), bench.start()]
    assert [(p.communicate()[1], p.returncode)[1] for p in processes] == [0, 0]
    assert len(bench.pids()) == 2
    assert len(bench.starts()) == CELLS
    assert set(bench.starts().values()) == {1}
    assert len(collect(bench.output)) == CELLS * 2


def test_jobs_take_over_from_one_that_dies(bench):
    (bench.site / "both").touch()
    cell = f"{TASK}/a/frozen/25-0"
    mark = bench.mark("stop", cell)
    parent = bench.start(jobs=2)
    wait_for(lambda: len(bench.starts()) == CELLS)  # the other one has done all the rest
    mark.unlink()
    log = (bench.site / "log").read_text().splitlines()
    os.kill(next(int(line.split()[1]) for line in log if line.startswith(cell)), signal.SIGKILL)
    messages = parent.communicate()[1]
    assert parent.returncode == 0, messages
    assert f"{CELLS}/{CELLS} cells" in messages
    assert parent.pid not in bench.pids()
    assert sum(bench.starts().values()) <= CELLS + 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopping_ends_the_children_too(bench, number):
    cells = [f"{TASK}/a/frozen/25-{draw}" for draw in (1, 2)]
    for cell in cells:
        bench.mark("stop", cell)
    parent = bench.start(jobs=2)
    wait_for(lambda: set(cells) <= set(bench.starts()))
    children = bench.pids()
    assert len(children) == 2
    wait_for(lambda: len(list(bench.output.glob("cells/**/metrics.json"))) == 7)
    parent.send_signal(number)
    parent.wait()
    wait_for(lambda: all(map(gone, children)))
    if number == signal.SIGINT:
        assert parent.returncode == 130
        assert "stopped: 7 of 12 cells are done; the same command goes on" in parent.stderr.read()
        assert len(pd.read_csv(bench.output / "results.csv")) == 14
    parent.stderr.close()


def test_a_failing_cell_stops_no_other_and_is_tried_again(bench):
    cell = f"{TASK}/b/frozen/100-1"
    mark = bench.mark("fail", cell)
    with pytest.raises(
        UmedptError, match=f"1 of 12 cells failed, first {cell}: ValueError: no such"
    ):
        bench.run()
    row = json.loads((bench.output / "failures.jsonl").read_text())
    assert row["cell"] == cell
    assert "ValueError: no such luck" in row["traceback"]
    assert len(pd.read_csv(bench.output / "results.csv")) == (CELLS - 1) * 2
    assert set(bench.starts().values()) == {1}  # not tried again by this call
    mark.unlink()
    assert len(bench.run()) == CELLS * 2
    assert bench.starts()[cell] == 2


def test_a_full_disk_is_an_error_of_one_line(bench, monkeypatch):
    def full(path, mode="r", **rest):
        if mode == "a" and path.name == "failures.jsonl":
            raise OSError(28, "No space left on device")
        return opened(path, mode, **rest)

    opened = Path.open
    bench.mark("fail", f"{TASK}/a/frozen/25-0")
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UmedptError, match=r"cannot write .*No space left.*; free some space"):
        bench.run()


def test_a_grid_is_extended(bench):
    bench.run()
    before = Draws.load(bench.output / "draws" / f"{TASK}.json")
    more = {
        "models": {"c": "random:resnet10t"},
        "modes": ["finetune"],
        "fractions": [0.5, 1.0],
        "draws": 4,
    }
    table = bench.run(**more)
    assert set(bench.starts().values()) == {1}
    assert len(table) == (CELLS + 8) * 2  # only what is asked for is added
    assert set(table.model) == {"a", "b", "c"}
    after = Draws.load(bench.output / "draws" / f"{TASK}.json")
    for fraction in (0.25, 1.0):
        for draw in range(3):
            assert after.ids(fraction, draw) == before.ids(fraction, draw)
    shown = json.loads((bench.output / "grid.json").read_text())
    assert (shown["fractions"], shown["draws"]) == ([0.25, 0.5, 1.0], 4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"settings": AdaptSettings(epochs=3)}, "this grid has epochs 100, not 3; choose another"),
        ({"models": {"a": "random:resnet18"}}, "has model a = random:resnet10t, not random:resn"),
        ({"options": {TASK: {"cases": 30}}}, "with options {'cases': 20}, not {'cases': 30}"),
    ],
)
def test_what_does_not_fit_a_grid_is_refused(bench, changes, says):
    bench.run(draws=1, fractions=[1.0])
    before = (bench.output / "grid.json").read_bytes()
    with pytest.raises(ConfigError, match=r"choose another --output") as refused:
        bench.run(**changes)
    assert says in str(refused.value)
    assert (bench.output / "grid.json").read_bytes() == before
    assert sum(bench.starts().values()) == 2


def test_the_draws_of_another_grid(bench, tmp_path):
    bench.run(fractions=[0.25], draws=1)
    file = bench.output / "draws" / f"{TASK}.json"
    drawn = json.loads(file.read_text())
    drawn["fractions"]["0.25"][0] = drawn["fractions"]["0.25"][0][:2]
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / file.name).write_text(json.dumps(drawn))
    with pytest.raises(ConfigError, match="these draws are not those of"):
        bench.run(fractions=[0.25], draws=1, draws_from=theirs)
    with pytest.raises(ConfigError, match="has no draw 1"):
        run_grid(tmp_path / "g", draws_from=theirs, **(GRID | {"fractions": [0.25], "draws": 2}))
    one = GRID | {"fractions": [0.25], "draws": 1}
    table = run_grid(tmp_path / "other", draws_from=theirs, quiet=True, **one)
    assert set(table.n_train) == {2}


def test_slurm_jobs_share_a_grid(bench, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(bench.site))
    (bench.site / "both").touch()
    results = bench.output / "results.csv"
    place = bench.place()
    with pytest.raises(ConfigError, match=r"--slurm: .*color"):
        submit(place, 2, {"color": "red"}, results, cluster="local")
    ids = submit(place, 2, {"timeout_min": 5, "partition": "any"}, results, cluster="local")
    assert len(set(ids)) == 2
    wait_for(lambda: results.exists() and len(pd.read_csv(results)) == CELLS * 2)
    assert len(bench.pids()) == 2
    assert set(bench.starts().values()) == {1}


def umedpt(*words: object) -> Result:
    return CliRunner().invoke(cli, ["benchmark", "run", *map(str, words)])


def test_the_command(bench):
    words = (TASK, "--model", "a=random:resnet10t", "--output", bench.output, "--option",
             f"{TASK}.cases=20", "--fractions", "25,100", "--draws", 2, "--modes", "frozen",
             "--epochs", 2)  # fmt: skip
    planned = umedpt(*words, "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "0 of 4 cells are done" in planned.stdout
    assert not bench.output.exists()
    done = umedpt(*words)
    assert done.exit_code == 0, done.output
    assert "4/4 cells" in done.stderr
    assert f"{TASK}/a/frozen/100-1: f1 0.500" in done.stderr
    assert set(collect(bench.output).epochs) == {2}
    state = umedpt(*words, "--jobs", 0, "--modes", "frozen,finetune")
    assert "4 of 8 cells are done" in state.stderr
    assert "2 of 4 cells" not in state.output
    bench.mark("fail", f"{TASK}/a/lora/25-0")
    failed = umedpt(*words, "--modes", "lora")
    assert failed.exit_code == 1
    assert "Error: 1 of 4 cells failed, first" in failed.stderr
    state = umedpt(*words, "--modes", "lora", "--jobs", 0)
    assert state.exit_code == 0
    assert f"{TASK}/a/lora/25-0 failed: ValueError: no such luck" in state.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--model", "a"), "write it as NAME=MODEL"),
        (("--model", "a=random:resnet10t", "--model", "a=random:resnet18"), "two are named 'a'"),
        (("--model", "a/b=random:resnet10t"), "the name is to be letters"),
        (("--model", "a=nowhere"), "no model at 'nowhere'"),
        (("--model", "a=timm:resnet18@nowhere.pth"), "there is no file nowhere.pth"),
        (("--model", "a=random:resnet10t", "--fractions", "1,x"), "--fractions '1,x': write perc"),
        (("--model", "a=random:resnet10t", "--fractions", "150"), "--fractions: input should be"),
        (("--model", "a=random:resnet10t", "--modes", "frozn"), "--modes: input should be"),
        (("--model", "a=random:resnet10t", "--augmentation", "x"), "no augmentation named 'x'"),
        (("--model", "a=random:resnet10t", "--exclude", TASK), "no task is chosen; give a SELEC"),
        (("--model", "a=random:resnet10t", "--option", "cases=3"), "write it as TASK.KEY=VALUE"),
        (("--model", "a=random:resnet10t", "--option", "b.cases=3"), "is no task of this grid"),
        (("--model", "a=random:resnet10t", "--results", "x.txt"), "end in .csv or .parquet"),
        (("--model", "a=random:resnet10t", "--slurm", "1"), "--slurm: "),
    ],
)
def test_mistakes_are_refused_before_any_work(bench, words, says):
    result = umedpt(TASK, "--output", bench.output, *words)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not bench.starts()


def test_own_data_takes_part(bench, tmp_path):
    folder = tmp_path / "mine"
    for number in range(20):
        image = folder / ("sick" if number % 2 else "well") / f"{number}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 32), number).save(image)
    words = ("--folder", folder, "--model", "a=random:resnet10t", "--output", bench.output,
             "--fractions", "50", "--draws", 1, "--modes", "frozen")  # fmt: skip
    result = umedpt(*words)
    assert result.exit_code == 0, result.output
    (row,) = collect(bench.output).query("metric == 'f1'").itertuples()
    assert (row.task, row.label_type) == ("mine", "classification")
    assert 6 <= row.n_train <= 9  # half of those that are no test cases
    both = umedpt(TASK, *words, "--dry-run", "--option", f"{TASK}.cases=20")
    assert "1 of 2 cells are done" in both.stdout


def test_real_cells(tmp_path):
    settings = AdaptSettings(epochs=1, image_size=32, resamples=0)
    grid = GRID | {"models": {"a": "random:resnet10t"}, "fractions": [0.5], "draws": 2}
    table = run_grid(tmp_path / "g", settings=settings, workers=0, quiet=True, **grid)
    scores = table[table.metric == "f1"]
    assert list(scores.draw) == list(scores.seed) == [0, 1]
    assert scores.value.between(0, 1).all()
    assert scores.baseline.between(0, 1).all()
    assert (scores.image_size == 32).all()
    cell = tmp_path / "g" / "cells" / TASK / "a" / "frozen" / "50-1"
    assert not (cell / "model").exists()
    assert (tmp_path / "g" / "features").is_dir()
