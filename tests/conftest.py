"""Fixtures: real, small distributions on the path, and the command line run on them."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from umedpt_core import Catalogue, load_catalogue
from umedpt_core.cli import cli

PREAMBLE = """
from umedpt_core import AugmentationSpec, LabelTypeSpec, LoggerSpec, NormSpec
from umedpt_core import Source, TaskSpec, hookimpl

def task(name, **fields):
    facts = dict(
        name=name, label_type="classification", modality="MRI", classes=("no", "yes"),
        cases="nowhere:cases", fake="nowhere:fake",
        source=Source(homepage="https://example.org", licence="MIT", citation="-", access="open"),
    )
    return TaskSpec(**(facts | fields))
"""
ONE_TASK = """
@hookimpl
def umedpt_tasks():
    yield task("{slug}")
"""


@dataclass
class Site:
    """A folder on the path that holds distributions as pip leaves them."""

    folder: Path

    def add(
        self,
        name: str,
        code: str | None = ONE_TASK,
        *,
        version: str = "1.0",
        entry_point: str | None = None,
        group: str = "umedpt",
    ) -> Path:
        """Install a plugin and give back its metadata folder.

        Its module holds `code` after the preamble above, or does not exist where that is None.
        """
        module = re.sub(r"\W", "_", name)
        if code is not None:
            code = code.replace("{slug}", name.removeprefix("umedpt-task-"))
            (self.folder / f"{module}.py").write_text(PREAMBLE + code)
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entry_point or name} = {module}\n")
        (info / "RECORD").write_text(f"{module}.py,,\n{info.name}/METADATA,,\n")
        return info

    def load(self, **arguments: Any) -> Catalogue:
        """The catalogue in this process."""
        importlib.invalidate_caches()
        return load_catalogue(**arguments)

    def invoke(self, *arguments: str) -> Result:
        """`umedpt` in this process."""
        importlib.invalidate_caches()
        return CliRunner().invoke(cli, arguments)

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`umedpt` in a process of its own."""
        return self.python("from umedpt_core.cli import main; main()", *arguments, **options)

    def python(
        self, code: str, *arguments: str, env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """A Python process with this folder on its path."""
        path = os.pathsep.join(filter(None, [str(self.folder), os.environ.get("PYTHONPATH")]))
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],
            env=os.environ | {"PYTHONPATH": path} | (env or {}),
            cwd=self.folder,
            encoding="utf-8",
            timeout=120,
            check=False,
            **streams,
        )


@contextmanager
def sites(base: Path) -> Iterator[Callable[..., Site]]:
    """Sites in a folder; each comes first on the path. The user's own settings do not apply."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("UMEDPT_PLUGINS", "UMEDPT_STRICT", "COLUMNS", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)

        def make(name: str = "site") -> Site:
            folder = base / name
            folder.mkdir()
            monkeypatch.syspath_prepend(folder)
            return Site(folder)

        yield make
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(str(base)):
                del sys.modules[name]


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Make a site for one test."""
    with sites(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An empty site for all tests of a module."""
    with sites(tmp_path_factory.mktemp("shared")) as make:
        yield make()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """An empty site."""
    return make_site()
