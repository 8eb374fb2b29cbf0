"""The listing commands: what they print, where, and at which price."""

from __future__ import annotations

import json
import os
import re
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from umedpt_core.catalogue import Catalogue
from umedpt_core.cli import COMMANDS, Settings, listing, main
from umedpt_core.cli.rows import schema
from umedpt_core.hookspecs import KINDS

DOCS = Path(__file__).parents[1] / "docs"

LONG = "a-task-with-quite-a-long-name"
TASK = f"""
@hookimpl
def umedpt_tasks():
    yield task("{LONG}", modality="endoscopy video", source=Source(
        homepage="https://example.org/data", licence="Free for research; ask [the authors] else",
        commercial="no", citation="Doe 2020", access="registration",
        download=("fill in the form", "unpack it here"),
    ))
"""
OTHERS = """
@hookimpl
def umedpt_label_types():
    yield LabelTypeSpec(name="points", blocks=("pixels",), metrics=("error",), factory="m:f")

@hookimpl
def umedpt_augmentations():
    yield AugmentationSpec(name="points", summary="moves points", image="m:f")

@hookimpl
def umedpt_norms():
    yield NormSpec(name="dots", summary="none", swap="m:f")

@hookimpl
def umedpt_loggers():
    yield LoggerSpec(name="dots", open="m:f")
"""
BOOM = "raise RuntimeError('boom [/] ' + 'and more words ' * 9)"


def objects(result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def named(rows: list[dict], name: str) -> dict:
    return next(row for row in rows if row["name"] == name)


def test_tasks_as_json(site):
    site.add("acme", TASK, version="2.1")
    site.add("umedpt-task-other")
    assert named(objects(site.invoke("tasks", "--json")), LONG) == {
        "name": LONG,
        "label_type": "classification",
        "modality": "endoscopy video",
        "classes": ["no", "yes"],
        "augmentation": "standard",
        "instances": {"kind": "whole", "size": 512},
        "intensity": "uint8",
        "licence": "Free for research; ask [the authors] else",
        "commercial": "no",
        "homepage": "https://example.org/data",
        "access": "registration",
        "suites": [],
        "distribution": "acme",
        "version": "2.1",
    }
    chosen = objects(site.invoke("tasks", LONG, "other", "--exclude", "dist:acme", "--json"))
    assert [row["name"] for row in chosen] == ["other"]


def test_tasks_as_json_follow_the_published_schema():
    published = json.loads((DOCS / "tasks.schema.json").read_text())
    assert published == schema(), "write json.dumps(umedpt_core.cli.rows.schema(), indent=2) there"
    rows = objects(CliRunner().invoke(listing.tasks, ["--json"], obj=Settings()))
    check = Draft202012Validator(published)
    check.validate(rows)
    assert {row["instances"]["kind"] for row in rows} == {"whole", "slices", "patches", "bag"}
    assert not check.is_valid([{**rows[0], "access": "free"}])
    assert not check.is_valid([{key: rows[0][key] for key in rows[0] if key != "licence"}])


@pytest.mark.parametrize(
    ("command", "row"),
    [
        ("label-types", {"name": "points", "blocks": ["pixels"], "metrics": ["error"]}),
        ("augmentations", {"name": "points", "image": "m:f", "volume": None}),
        ("norms", {"name": "dots", "summary": "none", "swap": "m:f"}),
        ("loggers", {"name": "dots", "open": "m:f"}),
    ],
)
def test_other_kinds_as_json_and_as_a_table(site, command, row):
    site.add("acme", OTHERS, version="2.1")
    found = named(objects(site.invoke(command, "--json")), row["name"])
    assert found.items() >= (row | {"distribution": "acme", "version": "2.1"}).items()
    lines = site.invoke(command).stdout.splitlines()
    assert any(line.split()[:2] == [row["name"], "acme"] for line in lines)


def test_plugins_as_json(site):
    site.add("umedpt-task-bad", "raise RuntimeError('boom')", entry_point="alias")
    rows = objects(site.invoke("plugins", "--json"))
    assert next(row for row in rows if row["entry_point"] == "alias") == {
        "distribution": "umedpt-task-bad",
        "version": "1.0",
        "entry_point": "alias",
        "status": "failed",
        "reason": "import of umedpt_task_bad raised RuntimeError: boom",
        "clashes": [],
    }


def test_show_a_task(site):
    site.add("acme", TASK, version="2.1")
    page = site.invoke("show", LONG).stdout
    for fact in (
        "kind +task",
        "classes +0 no",
        "citation +Doe 2020",
        "licence +Free for research; ask .the authors. else",
        "download +1 fill in the form *\n +2 unpack it here",
        "distribution +acme",
        "version +2.1",
    ):
        assert re.search(fact, page), fact
    (shown,) = objects(site.invoke("show", LONG, "--json"))
    assert (shown["kind"], shown["source"]["citation"]) == ("task", "Doe 2020")


def test_show_a_name_of_two_kinds(site):
    site.add("acme", OTHERS)
    shown = objects(site.invoke("show", "points", "--json"))
    assert [row["kind"] for row in shown] == ["label type", "augmentation"]
    page = site.invoke("show", "points").stdout
    assert re.findall("(?m)^kind +(.*?) *$", page) == ["label type", "augmentation"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (LONG[:-1], f"no task named '{LONG[:-1]}'; did you mean '{LONG}'?"),
        ("pionts", "no label type named 'pionts'; did you mean 'points'?"),
        ("broken", "no norm named 'broken'; umedpt-norm-broken, which brings it, is failed: "),
        ("nothing", "no task named 'nothing'; try: pip install umedpt-task-nothing"),
    ],
)
def test_show_an_unknown_name(site, name, message):
    site.add("acme", TASK + OTHERS)
    site.add("umedpt-norm-broken", BOOM)
    result = site.invoke("show", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "distribution"),
    [
        (listing.tasks, "umedpt-task-shapes"),
        (listing.label_types, "umedpt-label-classification"),
        (listing.augmentations, "umedpt-augment-standard"),
        (listing.norms, "umedpt-norm-layernorm"),
        (listing.loggers, "umedpt-log-tensorboard"),
        (listing.plugins, "umedpt-task-shapes"),
    ],
)
def test_an_empty_listing_says_what_to_install(command, distribution):
    settings = Settings()
    settings.catalogue = Catalogue([], {kind: {} for kind in KINDS})
    result = CliRunner().invoke(command, obj=settings)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith(f"try: pip install {distribution}\n")
    assert objects(CliRunner().invoke(command, ["--json"], obj=settings)) == []


def test_broken_plugins_are_counted_beside_the_tasks(site, monkeypatch):
    site.add("umedpt-task-good")
    site.add("umedpt-task-blocked", BOOM)
    monkeypatch.setenv("UMEDPT_PLUGINS", "umedpt-task-good")
    assert site.invoke("tasks").stderr == ""
    for slug, message in [("bad", "1 plugin failed"), ("worse", "2 plugins failed")]:
        site.add(f"umedpt-task-{slug}", BOOM)
        monkeypatch.setenv("UMEDPT_PLUGINS", f"{os.environ['UMEDPT_PLUGINS']},umedpt-task-{slug}")
        result = site.invoke("tasks", "--json")
        assert result.stderr == f"{message}; see 'umedpt plugins'\n"
        assert [row["name"] for row in objects(result)] == ["good"]


def test_80_columns_hold_every_name_whole(site, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    site.add("acme", TASK + OTHERS)
    site.add("umedpt-task-one-that-does-not-load", BOOM)
    for command, name in [
        ("tasks", LONG),
        ("plugins", "umedpt-task-one-that-does-not-load"),
        ("label-types", "points"),
        (f"show {LONG}", "kind"),
    ]:
        lines = site.invoke(*command.split()).stdout.splitlines()
        assert max(map(len, lines)) <= 80
        assert name in [line.split(" ")[0] for line in lines]
    assert "distribution" not in site.invoke("tasks").stdout  # left out rather than squeezed in
    lines = site.invoke("plugins").stdout.splitlines()
    remarks = " ".join(line[lines[0].index("remarks") :].strip() for line in lines)
    assert remarks.count("more words") == 9  # what is wrong folds, and loses nothing
    monkeypatch.setenv("COLUMNS", "20")
    assert f"{LONG}  classification" in site.invoke("tasks").stdout


def test_a_pipe_gets_one_plain_line_for_each_row(site):
    site.add("acme", TASK)
    site.add("umedpt-task-bad", BOOM)
    lines = site.invoke("plugins").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("umedpt-task-bad")]
    assert line.rstrip().endswith("RuntimeError: boom [/]" + " and more words" * 9)
    assert "\x1b" not in line
    lines = site.invoke("tasks").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith(LONG)]
    assert re.split(r" {2,}", line.strip()) == [
        LONG, "classification", "endoscopy video", "no",
        "Free for research; ask [the authors] else", "registration", "acme", "1.0",
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [["tasks"], ["tasks", "--json"]])
def test_a_closed_pipe_ends_quietly(site, arguments):
    site.add("acme", TASK)
    reader, writer = os.pipe()
    os.close(reader)
    result = site.run(*arguments, stdout=writer)
    os.close(writer)
    assert result.stderr == ""


def test_a_users_mistake_has_a_traceback_only_with_debug(site):
    result = site.run("tasks", "colour:red")
    assert result.returncode == 2
    assert result.stderr.startswith("Error: selector 'colour:red' has the unknown key")
    assert result.stderr.count("\n") == 1
    result = site.run("--strict", "--no-plugin", "nobody", "tasks")
    assert result.stderr.startswith("Error: --no-plugin names 'nobody'")
    result = site.run("--debug", "tasks", "colour:red")
    assert result.returncode == 2
    assert result.stderr.startswith("Traceback")
    assert result.stderr.splitlines()[-1].startswith("Error: selector")


@pytest.mark.parametrize(("option", "env"), [("--strict", {}), (None, {"UMEDPT_STRICT": "1"})])
def test_strict_shows_where_the_plugin_broke(site, option, env):
    site.add("umedpt-task-bad", BOOM)
    env = {"UMEDPT_PLUGINS": "umedpt-task-bad", **env}
    result = site.run(*filter(None, [option, "tasks"]), env=env)
    assert result.returncode == 2
    assert 'umedpt_task_bad.py", line' in result.stderr
    assert "Error: umedpt-task-bad is failed: import of umedpt_task_bad raised" in result.stderr


def test_an_interrupt_ends_with_130(site):
    site.add("umedpt-task-slow", "raise KeyboardInterrupt")
    result = site.run("tasks")
    assert (result.returncode, result.stderr) == (130, "Interrupted\n")


def test_help_names_every_command(site):
    result = site.invoke("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert re.search(rf"(?m)^  {name} +\w", result.stdout), name


def test_the_console_script():
    (script,) = metadata.entry_points(group="console_scripts", name="umedpt")
    assert script.load() is main


HEAVY = {"torch", "numpy", "monai", "timm", "albumentations", "cv2", "scipy", "PIL", "torchvision"}
COUNT = """
import atexit, sys
atexit.register(lambda: print("modules:", *sys.modules, file=sys.stderr))
from umedpt_core.cli import main
main()
"""
BUDGET = 340
"""Modules loaded by a listing, those of Python and of the plugins included; 322 when set."""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["tasks"], ["tasks", "--json"], ["show", "good"]]
)
def test_start_up_is_light(site, arguments):
    site.add("umedpt-task-good")
    result = site.python(COUNT, *arguments)
    assert result.returncode == 0, result.stderr
    modules = result.stderr.partition("modules: ")[2].split()
    assert "umedpt_core.cli.listing" in modules
    assert not HEAVY & set(modules)
    plugins = [name for name in modules if name.startswith("umedpt_") and "core" not in name]
    assert len(modules) - len(plugins) <= BUDGET
