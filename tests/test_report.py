"""umedpt report: one page with all of a run in it, whatever its plugins and files say."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from umedpt_core.cli import cli

EVIL = "x<script>alert('1')</script>&\"'"
TASKS = tuple(f"task-{number:02}" for number in range(17))
SOURCE = {
    "licence": "MIT",
    "commercial": "yes",
    "citation": f"Doe {EVIL}",
    "homepage": "-",
}
VOID = {"meta", "img"}


class Page(HTMLParser):
    """A page read strictly: every element is closed in its turn, every attribute has a value."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        assert all(value is not None for _, value in attrs), attrs
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.text).split())


def rows(task: str, steps: int = 20) -> list[dict]:
    found = []
    for step in range(0, steps + 1, 10):
        place = {"step": step, "epoch": step // 10, "task": task}
        scores = {"loss": 1.1 - step / 40, "n": 8, "dice": 0.5 + step / 100, "dice_baseline": 0.125}
        scores |= {"map": 0.25}
        found.append({"event": "eval", **place, "split": "val", **scores})
        loss = {"loss": 1.0 - step / 50, "seconds": 0.012, "waited": 0.003}
        found.append({"event": "train", **place, "split": "train", **loss})
    return found


def make(folder: Path, events: list[dict], tasks: tuple[str, ...] = TASKS) -> Path:
    """An unfinished run of pretrain."""
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in events))
    names = [{"task": task} for task in tasks]
    (folder / "mix.yaml").write_text(
        json.dumps({"epochs": 4, "steps_per_epoch": 10, "tasks": names})
    )
    environment = {"python": "3.11.1", "libraries": {"torch": "2.10"}, "plugins": {EVIL: "0.1"}}
    environment["sources"] = dict.fromkeys(tasks, SOURCE)
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


def report(*words: object) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, words)])


def page_of(run: Path) -> Page:
    result = report(run)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{run / 'report.html'}\n"
    return Page(run / "report.html")


@pytest.fixture
def run(tmp_path):
    """A finished one of 17 tasks."""
    events = [row for task in TASKS for row in rows(task, 40)]
    skip = {"event": "skip", "step": 1, "epoch": 1, "split": "train", "task": TASKS[0]}
    events += [skip | {"case": f"{EVIL}\udc80.png", "reason": f"bad {EVIL}"}]
    end = {"event": "end", "step": 40, "epoch": 4, "skipped": {TASKS[0]: 1}, "dropped": {}}
    folder = make(tmp_path / "run", [*events, end])
    (folder / "model").mkdir()
    Image.new("RGB", (8, 6)).save(folder / "predictions.png")
    return folder


def test_a_finished_run_is_all_there(run):
    page = page_of(run)
    assert "40 of 40 steps, finished" in page.said
    for task in TASKS:
        assert f"{task} loss: training 0.200 · held-out 0.100" in page.said
        assert f"{task} val 8 0.200 0.100 dice 0.900 0.125 map 0.250" in page.said
        assert f"{task} 12 12 3" in page.said
    assert "dice: held-out 0.900 · baseline 0.125" in page.said
    assert page.said.count("MIT") == len(TASKS)
    assert "cases skipped: task-00 1" in page.said
    for text in ("torch 2.10", "steps_per_epoch", "20: held-out 0.600", "chance 1.000"):
        assert text in page.said
    (image,) = page.of("img")
    kind, data = image["src"].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == (run / "predictions.png").read_bytes()


def test_it_can_be_read_without_seeing_it(run):
    page = page_of(run)
    assert page.of("html") == [{"lang": "en"}]
    assert all(TASKS[3] in image["alt"] for image in page.of("img"))
    figures = [svg for svg in page.of("svg") if "aria-hidden" not in svg]
    assert len(figures) == 2 * len(TASKS)
    assert {svg["role"] for svg in figures} == {"img"}
    assert figures[0]["aria-label"] == (
        "task-00, loss: training 1.000 at 0, 0.200 at 40; held-out 1.100 at 0, 0.100 at 40; "
        "chance 1.000"
    )
    assert all(head["scope"] in ("row", "col") for head in page.of("th"))


def test_nothing_is_loaded_or_run(run):
    page = page_of(run)
    assert not {"script", "link", "iframe", "object", "a"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("src", "data:").startswith("data:")
        assert not {"href", "xlink:href", "style"} & attributes.keys()
    assert not re.search(r"url\(|@import|http:|https:", page.source)
    (policy,) = (meta["content"] for meta in page.of("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_what_plugins_and_files_say_is_text(run):
    page = page_of(run)
    assert EVIL in page.said
    assert f"bad {EVIL}" in page.said
    assert f"Doe {EVIL}" in page.said


@pytest.mark.parametrize("name", [EVIL, "<b>"])
def test_names_are_text_everywhere(tmp_path, name):
    run = make(tmp_path / "<i>run", rows(name), (name,))
    page = page_of(run)
    assert "<i>run" in page.said
    assert f"{name} loss: training 0.600" in page.said
    assert page.of("svg")[-1]["aria-label"].startswith(f"{name}, dice")


def test_an_unfinished_run_shows_what_there_is(tmp_path):
    run = make(tmp_path / "run", rows(TASKS[0]))
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "train", "st')  # what a kill cut
    page = page_of(run)
    assert "20 of 40 steps, not finished" in page.said
    assert page.said.count("Nothing recorded yet.") == len(TASKS) - 1
    assert page.of("img") == []


def test_a_run_adapted_to_a_task(tmp_path):
    run = make(tmp_path / "run", rows("hips", 10))
    (run / "mix.yaml").unlink()
    result = {"task": "hips", "model": "timm:resnet18", "epochs": 10, "metrics": {"loss": 0.5}}
    (run / "metrics.json").write_text(json.dumps(result))
    page = page_of(run)
    assert "10 of 10 epochs, not finished adapting timm:resnet18" in page.said
    assert "hips loss: training 0.800" in page.said
    assert "setting value task hips model timm:resnet18 epochs 10" in page.said
    for name in ("metrics.json", "environment.json"):  # it was killed
        (run / name).unlink()
    assert "10 epochs, not finished adapting a model" in page_of(run).said


def test_one_row_and_values_out_of_range_are_drawn(tmp_path):
    event = {"event": "train", "step": 0, "epoch": 0, "split": "train", "task": "a", "loss": -3.5}
    page = page_of(make(tmp_path / "run", [event, event | {"loss": "x"}, {"task": "a"}], ("a",)))
    assert "loss: training -3.500" in page.said
    assert "NaN" not in page.source


def test_a_long_run_makes_a_small_page(tmp_path):
    base = {"event": "train", "epoch": 1, "split": "train", "task": "a"}
    events = [base | {"step": step, "loss": float(step % 2)} for step in range(1, 10001)]
    page = page_of(make(tmp_path / "run", events, ("a",)))
    assert len(page.source) < 50_000
    assert "10000: training 0.500" in page.said  # the mean of a hundred


def test_another_place(run, tmp_path):
    result = report(run, "-o", tmp_path / "page.html")
    assert result.stdout == f"{tmp_path / 'page.html'}\n"
    assert Page(tmp_path / "page.html").of("svg")
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.jsonl", None, "no run; give a folder that pretrain or adapt wrote"),
        ("metrics.jsonl", b"", "holds no events"),
        ("metrics.jsonl", b"garbage\n", "holds no events"),
        ("metrics.jsonl", b"[1]\n3\n{}\n", "holds no events"),
        ("metrics.jsonl", b"\xff\xfe\x00", "cannot be read"),
        ("mix.yaml", b"a: [", "no valid YAML"),
        ("mix.yaml", b"tasks: 3", "tasks"),
        ("environment.json", b'{"python": ', "cannot be read"),
        ("environment.json", b"[]", "holds no JSON object"),
        ("metrics.json", b"\xff", "cannot be read"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(run, file, content, message):
    if content is None:
        (run / file).unlink()
    else:
        (run / file).write_bytes(content)
    result = report(run)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("content", [b'{"sources": [], "plugins": 3}', b'{"sources": {"a": 1}}'])
def test_facts_of_another_form_are_left_out(run, content):
    (run / "environment.json").write_bytes(content)
    assert "Scores" in page_of(run).said


def test_a_page_that_cannot_be_written(run, tmp_path):
    result = report(run, "-o", tmp_path / "no" / "page.html")
    assert result.exit_code == 2
    assert "page.html: cannot be written" in result.stderr
