"""umedpt new-plugin: what it writes installs, passes its own tests, and a task trains a step."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from umedpt_core.cli import cli
from umedpt_core.cli.new_plugin import WORK

NAME = "nine-lives"
PREFIXES = {
    "task": "umedpt-task-",
    "label-type": "umedpt-label-",
    "augmentation": "umedpt-augment-",
    "norm": "umedpt-norm-",
    "logger": "umedpt-log-",
}


class Author:
    """Somebody in an empty folder, who installs what is written there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site, self.steps = folder, folder / "site", {}

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """A line in the shell."""
        own = {"PYTHONPATH": str(self.site), "OMP_NUM_THREADS": "1"}
        own["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        rest = {k: v for k, v in os.environ.items() if not k.startswith(("UMEDPT_", "PYTEST_"))}
        done = subprocess.run(  # noqa: S602
            command,
            shell=True,
            cwd=self.folder,
            env=rest | own,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="module")
def author(tmp_path_factory):
    """A plugin of every kind, written and installed; `steps` are the printed commands."""
    author = Author(tmp_path_factory.mktemp("author"))
    for kind, prefix in PREFIXES.items():
        written = author.run(f"umedpt new-plugin {kind} {NAME}")
        assert written.stdout == f"{prefix}{NAME}\n"
        first, *author.steps[kind] = written.stderr.splitlines()
        assert first == "next:"
    folders = " ".join(f"./{prefix}{NAME}" for prefix in PREFIXES.values())
    author.run(
        f"python -m pip install --quiet --no-deps --no-build-isolation --target site {folders}"
    )
    return author


def test_there_is_a_template_for_every_kind():
    assert list(WORK) == list(PREFIXES)


def test_they_are_listed_and_nothing_heavy_is_loaded(author):
    rows = json.loads(author.run("umedpt plugins --json").stdout)
    status = {row["distribution"]: row["status"] for row in rows}
    for kind, prefix in PREFIXES.items():
        assert status[prefix + NAME] == "ok"
        names = [row["name"] for row in json.loads(author.run(f"umedpt {kind}s --json").stdout)]
        assert NAME in names


def test_writing_loads_nothing_heavy(author):
    code = (
        "import atexit, sys; from umedpt_core.cli import main;"
        "atexit.register(lambda: print({'torch', 'numpy', 'PIL'} & set(sys.modules))); main()"
    )
    done = author.run(f'python -c "{code}" new-plugin task light')
    assert done.stdout.splitlines() == ["umedpt-task-light", "set()"]


@pytest.mark.parametrize("kind", PREFIXES)
def test_they_pass_their_own_tests(author, kind):
    install, check, test, *_ = author.steps[kind]
    distribution = PREFIXES[kind] + NAME
    assert install.split()[:2] == ["pip", "install"]
    assert check.split() == ["umedpt", "check", distribution]  # the same as TestConformance
    report = author.run(f"{test} -v").stdout
    assert f"TestConformance::test_conforms[{NAME}-resolves] PASSED" in report
    skipped = [line.split(" SKIPPED")[0] for line in report.splitlines() if " SKIPPED" in line]
    assert len(skipped) == (4 if kind == "augmentation" else 0)
    assert all(f"[{NAME}-volume" in line for line in skipped)  # it has 2D transforms alone


def test_a_task_trains_one_step_by_the_printed_commands(author):
    for command in author.steps["task"][3:]:
        author.run(f"{command} --workers 0" if " pretrain " in command else command)
    lines = (author.folder / "runs" / NAME / "metrics.jsonl").read_text().splitlines()
    (row,) = [row for row in map(json.loads, lines) if row["event"] == "train"]
    assert (row["task"], row["step"]) == (NAME, 1)
    assert 0.5 < row["loss"] < 1.5
    assert math.isfinite(row["loss"])


def test_the_written_code_is_formatted(author):
    pytest.importorskip("ruff")
    config = f"--config {Path(__file__).parents[1] / 'pyproject.toml'}"
    for prefix in PREFIXES.values():
        author.run(f"cd {prefix}{NAME} && ruff check {config} . && ruff format --check {config} .")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["task", "Nine"], "use lower-case words"),
        (["task", "nine_lives"], "use lower-case words"),
        (["task", "nine--lives"], "use lower-case words"),
        (["task", "../nine"], "use lower-case words"),
        (["augmentation", "none"], "not 'none'"),
        (["task", "umedpt-task-nine"], "give it without 'umedpt-...'"),
        (["task", "nine", "-o", "there"], "there: exists"),
        (["task", "nine", "-o", "there/file/nine"], "cannot be written"),
        (["dataset", "nine"], "'dataset' is not one of"),
    ],
)
def test_what_is_refused(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(cli, ["new-plugin", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_another_folder(tmp_path):
    folder = tmp_path / "deep" / "folder"
    result = CliRunner().invoke(cli, ["new-plugin", "norm", "nine", "-o", str(folder)])
    assert result.exit_code == 0, result.output
    assert (folder / "umedpt_norm_nine" / "swap.py").is_file()
    assert "$" not in (folder / "pyproject.toml").read_text()
    assert (
        "python-version: ${{ matrix.python }}"
        in (folder / ".github" / "workflows" / "test.yml").read_text()
    )
