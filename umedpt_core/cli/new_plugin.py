"""umedpt new-plugin: write a complete distribution to start from."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from string import Template

import click

from umedpt_core import __version__

from ..errors import ConfigError

WORK = {
    # kind: the module beside __init__.py that does the work
    "task": "data.py",
    "label-type": "head.py",
    "augmentation": "profile.py",
    "norm": "swap.py",
    "logger": "logger.py",
}
NEEDS = {
    # kind: what it needs beside the core, a default mix included
    "task": ("umedpt-label-classification", "umedpt-augment-standard", "umedpt-norm-layernorm"),
    "augmentation": ("albumentations>=2.0.8,<3",),
}
TRAIN = """\
umedpt data fake {name} data/{name}
umedpt mix new {name} -o mix.yaml --set encoder.name=resnet18
umedpt pretrain mix.yaml --data-root data --output runs/{name} --set epochs=1 \
--set steps_per_epoch=1"""


@click.command("new-plugin")
@click.argument("kind", type=click.Choice(list(WORK)))
@click.argument("name")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="A new folder; default: ./DISTRIBUTION."
)
def new_plugin(kind: str, name: str, output: Path | None) -> None:
    """Write a plugin of this KIND: a distribution that installs, passes its tests and trains.

    NAME is what it registers: lower-case words and digits joined by hyphens, without the prefix
    of its distribution.
    """
    from ..hookspecs import KINDS

    words = kind.replace("-", " ")
    prefix = KINDS[words][2]
    if name.startswith("umedpt-"):
        raise ConfigError(f"NAME '{name}': give it without 'umedpt-...'; {prefix} is added")
    if name == "none" or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ConfigError(
            f"NAME '{name}': use lower-case words and digits joined by single hyphens, and not "
            "'none'"
        )
    distribution = prefix + name
    folder = output or Path(distribution)
    if folder.exists():
        raise ConfigError(f"{folder}: exists; remove it, or choose another folder with -o")
    values = {
        "kind": words,
        "name": name,
        "distribution": distribution,
        "package": distribution.replace("-", "_"),
        "dependencies": "\n".join(f'  "{line}",' for line in _dependencies(kind)),
    }
    try:
        for path, template in _files(kind, values["package"]).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(Template(template).substitute(values), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error}") from error
    click.echo(folder)
    steps = [f"pip install -e '{folder}[test]'", f"umedpt check {distribution}", f"pytest {folder}"]
    steps += TRAIN.format(**values).splitlines() if kind == "task" else []
    click.echo("next:\n  " + "\n  ".join(steps), err=True)


def _dependencies(kind: str) -> list[str]:
    """With version ranges; our own distributions share the core's."""
    from ..requires import version_range

    own = version_range(__version__)
    names = ("umedpt-core", *NEEDS.get(kind, ()))
    return [name + own if name.startswith("umedpt-") else name for name in names]


def _files(kind: str, package: str) -> dict[str, str]:
    """Path within the distribution to its template."""
    slug = package.split("_", 2)[2]
    places = {
        "pyproject.toml": "common/pyproject.toml",
        ".github/workflows/test.yml": "common/workflow.yml",
        "README.md": f"{kind}/README.md",
        f"{package}/__init__.py": f"{kind}/init.py",
        f"{package}/{WORK[kind]}": f"{kind}/{WORK[kind]}",
        f"test_{slug}.py": f"{kind}/test.py",
    }
    templates = resources.files("umedpt_core") / "templates"
    return {
        path: (templates / f"{place}.tmpl").read_text(encoding="utf-8")
        for path, place in places.items()
    }
