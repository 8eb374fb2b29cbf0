"""umedpt mix: compose, check and show mixes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError, UmedptError
from ..presets import PRESETS
from .options import (
    data_root_option,
    exclude_option,
    parse_roots,
    roots_option,
    settings_option,
)

if TYPE_CHECKING:
    from ..catalogue import Catalogue
    from ..mix import Mix
    from ..specs import Source, TaskSpec


@click.group()
def mix() -> None:
    """Compose, check and show pretraining mixes."""


@mix.command()
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1)
@click.option(
    "--preset", type=click.Choice([*PRESETS]), help="The tasks and settings of the paper."
)
@exclude_option
@click.option("--available", is_flag=True, help="Leave out what is not installed or has no data.")
@click.option(
    "--fake",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write fakes of all data below DIR, and mix those.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: standard output.")
@settings_option
@data_root_option
@click.pass_obj
def new(
    session: Any,
    selectors: tuple[str, ...],
    preset: str | None,
    exclude: tuple[str, ...],
    available: bool,
    fake: Path | None,
    output: Path | None,
    settings: tuple[str, ...],
    data_root: Path | None,
) -> None:
    """Write a mix of the tasks of a preset, and of those that SELECTORS choose."""
    from ..mix import Mix

    if not (selectors or preset):
        raise ConfigError("name tasks, such as 'label:segmentation', or a --preset; see --help")
    if output and output.exists():
        raise ConfigError(f"-o {output}: exists; remove it or choose another name")
    catalogue = session.catalogue
    base = PRESETS[preset] if preset else {}
    wanted = [entry["task"] for entry in base.get("tasks", ())]
    names = catalogue.select(selectors, exclude, wanted)
    if preset or available:
        names = _there(catalogue, names, data_root, bool(fake), available)
    composed = Mix.compose(catalogue, names, settings=settings, base=base)
    if fake:
        composed = _with_fakes(composed, catalogue, fake)
    if output is None:
        click.echo(composed.dump(), nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(composed.dump())
    except OSError as error:
        raise ConfigError(f"-o {output}: cannot be written: {error}") from error
    fakes = f", with fakes of their data below {fake}" if fake else ""
    click.echo(f"wrote {output}: {len(composed.tasks)} task(s){fakes}", err=True)


def _there(
    catalogue: Catalogue, names: list[str], data_root: Path | None, faked: bool, available: bool
) -> list[str]:
    """The tasks to mix. What is missing is listed; without `available`, no plugin may be."""
    from ..missing import missing_data, missing_folder, missing_tasks

    entries = [catalogue.tasks[name] for name in names if name in catalogue.tasks]
    kept = [e.spec.name for e in entries if faked or not missing_folder(e, None, data_root)]
    absent = missing_tasks(catalogue, names)
    listed = [absent, "" if faked else missing_data([(e, None) for e in entries], data_root)]
    if available and not faked:
        broken = _unreadable(catalogue, kept, data_root)
        kept = [name for name in kept if name not in broken]
        listed += broken.values()
    text = "\n".join(filter(None, listed))
    if (available and not kept) or (absent and not available):
        raise ConfigError(text)
    if text:
        click.echo(text, err=True)
    return kept if available else names


def _unreadable(catalogue: Catalogue, names: list[str], data_root: Path | None) -> dict[str, str]:
    """The tasks whose folder is there and does not hold what it should, with what is wrong."""
    from ..data.tasks import open_task

    found = {}
    for name in names:
        try:
            open_task(catalogue, name, ("train",), data_root=data_root)
        except UmedptError as error:
            found[name] = f"{name}: {str(error).removeprefix(f'task {name}: ')}"
    return found


def _with_fakes(mix: Mix, catalogue: Catalogue, folder: Path) -> Mix:
    """The mix with the data of all its tasks faked below a folder, one folder a plugin."""
    from ..data.fakes import write_fake

    slugs: dict[str, list[TaskSpec]] = {}
    for settings in mix.tasks:
        entry = catalogue.tasks[settings.task]
        if entry.spec.source.on_disk:
            slugs.setdefault(entry.slug, []).append(entry.spec)
    for slug, specs in slugs.items():
        write_fake(specs, folder / slug)
    roots = {spec.name: str(folder.resolve() / slug) for slug, ss in slugs.items() for spec in ss}
    tasks = tuple(
        settings.model_copy(update={"root": roots.get(settings.task)}) for settings in mix.tasks
    )
    return mix.model_copy(update={"tasks": tasks})


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
    """What the licences of a mix, taken together, say about commercial use, the tightest first."""
    unclear: dict[tuple[str, str], list[str]] = {}
    for name, source in sources.items():
        if source.commercial != "yes":
            unclear.setdefault((source.commercial, source.licence), []).append(name)
    if not unclear:
        return "commercial use: yes, by the licences of all tasks"
    lines = [
        f"  {commercial}: {', '.join(names)} ({licence})"
        for (commercial, licence), names in sorted(unclear.items())  # no, then unknown
    ]
    return "\n".join([f"commercial use: {min(unclear)[0]}, because of", *lines])


@mix.command()
@click.argument("file", type=click.Path())
@settings_option
def show(file: str, settings: tuple[str, ...]) -> None:
    """Show a mix with every default filled in."""
    from ..mix import Mix

    click.echo(Mix.load(file, settings).dump(), nl=False)
