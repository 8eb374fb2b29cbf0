"""The docs name all that there is, their links lead somewhere, and their example works."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_args

import click
import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import umedpt_core
from umedpt_core import Case, LabelType, Metric, hookspecs, specs
from umedpt_core.cli import cli
from umedpt_core.data.batch import Ticket
from umedpt_core.data.loader import Instances
from umedpt_core.data.tasks import open_task
from umedpt_core.mix import Mix
from umedpt_core.testing import Examination

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
HOOKS = (ROOT / "docs" / "hooks.md").read_text()
MIXES = (ROOT / "docs" / "mixes.md").read_text()
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
REQUIRED = "required"


def rows(text: str) -> dict[str, list[str]]:
    """The rows of all tables by the name in code type that their first cell starts with."""
    found = re.findall(r"^\| `([^`]+)`.*?\|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in found}


def section(heading: str) -> str:
    """What stands in hooks.md below a heading of the third level."""
    match = re.search(rf"^### {heading}$(.*?)(?=^##)", HOOKS, re.MULTILINE | re.DOTALL)
    assert match, f"docs/hooks.md has no section '### {heading}'"
    return match[1]


SPECS = [
    model
    for _, model in inspect.getmembers(specs, inspect.isclass)
    if issubclass(model, specs.Spec) and model is not specs.Spec
]


@pytest.mark.parametrize("model", SPECS)
def test_every_field_of_every_spec_is_described(model):
    described = rows(section(model.__name__))
    assert list(described) == list(model.model_fields)
    for name, field in model.model_fields.items():
        default = described[name][1]
        assert default == (REQUIRED if field.is_required() else f"`{as_code(field.default)}`"), name


def as_code(default: object) -> str:
    """A default as hooks.md writes it."""
    if isinstance(default, BaseModel):
        return f"{type(default).__name__}()"
    return repr(default).replace("'", '"')


def test_every_hook_is_described():
    described = rows(HOOKS)
    hooks = [name for name, value in vars(hookspecs).items() if hasattr(value, "umedpt_spec")]
    assert hooks
    assert set(hooks) <= set(described)


@pytest.mark.parametrize(
    ("members", "heading"),
    [
        (LabelType.__abstractmethods__, "The methods of a LabelType"),
        ({"update", "compute"} & vars(Metric).keys(), "The methods of a LabelType"),
        ({name for name in vars(Case) if name[0] != "_"}, "The function behind `cases`"),
    ],
)
def test_every_method_and_attribute_of_a_contract_is_described(members, heading):
    assert members
    described = {name.partition("(")[0] for name in rows(section(heading))}
    assert members <= described


def test_the_readers_that_are_described_are_public():
    described = {name.partition("(")[0] for name in rows(section("Readers"))}
    assert len(described) > 5
    assert described <= {*umedpt_core.__all__}


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """All keys of a mix, in order; those of a task as tasks[].key."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        for part in (field.annotation, *get_args(field.annotation)):
            if inspect.isclass(part) and issubclass(part, BaseModel):
                below = "." if part is field.annotation else "[]."
                yield from keys(part, f"{prefix}{name}{below}")


def test_every_key_of_a_mix_is_described_with_its_default():
    table = MIXES[MIXES.index("## Keys") : MIXES.index("## Overriding a key")]
    described = rows(table)
    assert list(described) == [key for key, _ in keys(Mix)]
    for key, field in keys(Mix):
        text = described[key][0]
        if field.is_required():
            assert text == REQUIRED, key
        elif isinstance(field.default, BaseModel):
            assert text == "", key
        else:
            value = list(field.default) if isinstance(field.default, tuple) else field.default
            assert yaml.safe_load(text.strip("`")) == value, key


def test_the_mix_in_the_docs_is_valid():
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", MIXES, re.MULTILINE | re.DOTALL)
    Mix.parse(yaml.safe_load(block))


def commands(group: click.Group, prefix: str) -> Iterator[str]:
    """The full names of all commands, those of groups included."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


@pytest.mark.parametrize("command", list(commands(cli, "umedpt")))
def test_every_command_is_described(command):
    described = rows(MIXES[MIXES.index("## Commands") : MIXES.index("## MODEL")])
    assert any(f"{name} ".startswith(f"{command} ") for name in described)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", page.read_text())):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", CODE.sub("", place.read_text()), re.MULTILINE)
            assert anchor in map(anchor_of, titles), f"{page.name}: {target}"


def anchor_of(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.fixture
def example(site):
    """The plugin in hooks.md as an installed distribution."""
    blocks = re.findall(r"^`([\w./]+)`\n```\w+\n(.*?)^```$", HOOKS, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in blocks] == [
        "pyproject.toml",
        "umedpt_task_rings/__init__.py",
        "umedpt_task_rings/data.py",
    ]
    for name, text in blocks:
        path = site.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    project = tomllib.loads(dict(blocks)["pyproject.toml"])["project"]
    name, version = project["name"], project["version"]
    info = site.folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {line}\n" for line in project["dependencies"])
    facts = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
    (info / "METADATA").write_text(facts)
    lines = (f"{key} = {value}\n" for key, value in project["entry-points"]["umedpt"].items())
    (info / "entry_points.txt").write_text(f"[umedpt]\n{''.join(lines)}")
    return site


def test_the_example_is_listed(example):
    result = example.run("tasks", "rings", "--json")
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)
    assert (row["name"], row["distribution"]) == ("rings", "umedpt-task-rings")
    code = (
        "import sys, umedpt_task_rings as plugin; list(plugin.umedpt_tasks());"
        "print({'torch', 'numpy', 'PIL', 'cv2'} & sys.modules.keys())"
    )
    assert example.python(code).stdout.strip() == "set()"


def test_the_example_gives_batches(example, tmp_path):
    catalogue = example.load()
    import_module("umedpt_task_rings.data").make_fake(tmp_path / "data" / "rings", 0)
    task = open_task(
        catalogue, "rings", ("train", "val", "test"), data_root=tmp_path / "data", batch_size=4
    )
    assert {split: len(cases) for split, cases in task.cases.items()} == {
        "train": 14,
        "val": 2,
        "test": 4,
    }
    batch = Instances({"rings": task}, seed=0)[Ticket("train", "rings", 0)]
    assert batch.x_BCHW.shape == (4, 3, 64, 64)
    assert not batch.skips
    assert set(batch.target.tolist()) <= {0, 1}


def test_the_example_conforms(example, tmp_path):
    scratch = tmp_path / "scratch"
    examination = Examination("umedpt-task-rings", example.load(), scratch)
    results = {result.check.name: result for result in examination.results()}
    assert len(results) > 20
    assert {name: r.message for name, r in results.items() if r.status != "ok"} == {}
