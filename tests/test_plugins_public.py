"""First-party task plugins are written as anybody's: with the core's public names alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import umedpt_core

TASKS = Path(__file__).parents[1] / "plugins" / "tasks"
PLUGINS = sorted(
    path for path in TASKS.glob("umedpt-task-*") if (path / "pyproject.toml").is_file()
)


def wrong(source: str, own: str, *, is_test: bool) -> list[str]:
    """What a file of the package ``own`` takes that a plugin may not."""
    found = []
    for line, module, name in imports(ast.parse(source)):
        top, *below = module.split(".")
        named = f"line {line}: {module}{name and f':{name}'}"
        if top != "umedpt_core":
            if top.startswith("umedpt_") and top != own:
                found.append(f"{named} is another plugin")
        elif below[:1] == ["testing"]:
            if not is_test or len(below) > 1:
                found.append(f"{named} is the test kit's own")
        elif any(part.startswith("_") for part in (*below, name)):
            found.append(f"{named} is private")
        elif not below and name and name not in umedpt_core.__all__:
            found.append(f"{named} is not in umedpt_core.__all__")
        elif name and not hasattr(import_module(module), name):
            found.append(f"{named} does not exist")
    return found


def imports(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, module and name of every import, and of every private attribute of an imported one."""
    homes: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                homes[alias.asname or alias.name] = alias.name
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                homes[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node.lineno, str(node.module), alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            home = homes.get(ast.unparse(node.value))
            if home and not node.attr.startswith("__"):
                yield node.lineno, home, node.attr if node.attr.startswith("_") else ""


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_uses_public_names_alone(plugin):
    own = plugin.name.replace("-", "_")
    files = sorted(plugin.rglob("*.py"))
    assert (plugin / own / "__init__.py") in files
    for path in files:
        found = wrong(path.read_text(), own, is_test=path.name.startswith("test_"))
        assert not found, f"{path}: {'; '.join(found)}"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("from umedpt_core import FileCase, hookimpl, read_table", ""),
        ("from umedpt_core.data.splits import split_by_patient", ""),
        ("from . import tasks\nimport umedpt_task_me.data\nimport umedpt_core", ""),
        ("import umedpt_core\numedpt_core.__version__", ""),
        ("from umedpt_task_other.data import read", "another plugin"),
        ("def f():\n    import umedpt_label_detection.head", "another plugin"),
        ("from umedpt_core import import_module", "not in umedpt_core.__all__"),
        ("from umedpt_core.data.rle import _runs", "private"),
        ("from umedpt_core.data._fast import read", "private"),
        ("import umedpt_core as core\ncore._HOMES", "private"),
        ("from umedpt_core.data import coco\ncoco._fill", "private"),
        ("from umedpt_core.data.rle import decode", "does not exist"),
        ("from umedpt_core.testing import Conformance", "the test kit's own"),
    ],
)
def test_what_is_found(source, problem):
    found = wrong(source, "umedpt_task_me", is_test=False)
    assert (problem in found[0] and len(found) == 1) if problem else not found


def test_a_test_may_use_the_kit():
    public = "from umedpt_core.testing import Conformance"
    assert not wrong(public, "umedpt_task_me", is_test=True)
    assert wrong("from umedpt_core.testing.kit import run", "umedpt_task_me", is_test=True)
