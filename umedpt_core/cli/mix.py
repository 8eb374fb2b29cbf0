"""umedpt mix: compose, check and show mixes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..specs import Source

settings_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key; repeatable."
)
data_root_option = click.option(
    "--data-root",
    envvar="UMEDPT_DATA",
    type=click.Path(path_type=Path),
    help="Folder with one folder a dataset.  [env: UMEDPT_DATA]",
)
roots_option = click.option(
    "--root", "roots", multiple=True, metavar="TASK=DIR", help="One task's data; repeatable."
)


def parse_roots(roots: tuple[str, ...]) -> dict[str, str]:
    """``TASK=DIR`` arguments as a mapping."""
    pairs = [root.partition("=") for root in roots]
    for (task, equals, folder), root in zip(pairs, roots, strict=True):
        if not (task and equals and folder):
            raise ConfigError(f"--root '{root}': write it as TASK=DIR")
    return {task: folder for task, _, folder in pairs}


@click.group()
def mix() -> None:
    """Compose, check and show pretraining mixes."""


@mix.command()
@click.argument("selectors", nargs=-1, required=True)
@click.option("--exclude", multiple=True, metavar="SELECTOR", help="Take tasks away; repeatable.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: standard output.")
@settings_option
@click.pass_obj
def new(
    session: Any,
    selectors: tuple[str, ...],
    exclude: tuple[str, ...],
    output: Path | None,
    settings: tuple[str, ...],
) -> None:
    """Write a mix of the tasks that SELECTORS choose."""
    from ..mix import Mix

    composed = Mix.compose(session.catalogue, selectors, exclude, settings)
    if output is None:
        click.echo(composed.dump(), nl=False)
        return
    if output.exists():
        raise ConfigError(f"-o {output}: exists; remove it or choose another name")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(composed.dump())
    except OSError as error:
        raise ConfigError(f"-o {output}: cannot be written: {error}") from error
    click.echo(f"wrote {output}: {len(composed.tasks)} task(s)", err=True)


@mix.command()
@click.argument("file", type=click.Path())
@settings_option
@data_root_option
@roots_option
@click.pass_obj
def check(
    session: Any,
    file: str,
    settings: tuple[str, ...],
    data_root: Path | None,
    roots: tuple[str, ...],
) -> None:
    """Check a mix against the installed plugins and the data on this machine."""
    from ..mix import Mix

    loaded = Mix.load(file, settings)
    loaded.check(session.catalogue)  # before torch is loaded

    from ..data.loader import Instances
    from ..engine.pretrain import open_mix

    tasks = open_mix(loaded, session.catalogue, data_root, parse_roots(roots))
    Instances(tasks, loaded.seed)  # composes the augmentations
    for name, task in tasks.items():
        train, held_out = len(task.cases["train"]), len(task.cases["val"])
        click.echo(f"{name}: {train} train, {held_out} held-out cases")
    click.echo(_commercial_use({n: session.catalogue.tasks[n].spec.source for n in tasks}))
    click.echo(f"{file}: ok; next: umedpt pretrain {file} --output runs/NAME", err=True)


def _commercial_use(sources: Mapping[str, Source]) -> str:
    """What the licences of a mix, taken together, say about commercial use."""
    unclear = [
        f"{name} ({source.commercial}: {source.licence})"
        for name, source in sources.items()
        if source.commercial != "yes"
    ]
    if not unclear:
        return "commercial use: yes, by the licences of all tasks"
    verdict = "no" if any(source.commercial == "no" for source in sources.values()) else "unknown"
    return f"commercial use: {verdict}, because of {', '.join(unclear)}"


@mix.command()
@click.argument("file", type=click.Path())
@settings_option
def show(file: str, settings: tuple[str, ...]) -> None:
    """Show a mix with every default filled in."""
    from ..mix import Mix

    click.echo(Mix.load(file, settings).dump(), nl=False)
