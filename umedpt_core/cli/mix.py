"""umedpt mix: compose, check and show mixes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError, UmedptError
from ..presets import NAMES, load_preset

if TYPE_CHECKING:
    from ..catalogue import Catalogue
    from ..mix import Mix
    from ..specs import Source, TaskSpec

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
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1)
@click.option("--preset", type=click.Choice(NAMES), help="The tasks and settings of the paper.")
@click.option("--exclude", multiple=True, metavar="SELECTOR", help="Take tasks away; repeatable.")
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
    base = load_preset(preset) if preset else {}
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
    from ..missing import missing_data, missing_tasks

    entries = [catalogue.tasks[name] for name in names if name in catalogue.tasks]
    without = [] if faked else [e for e in entries if missing_data([(e, None)], data_root)]
    absent = missing_tasks(catalogue, names)
    listed = [absent, missing_data([(entry, None) for entry in without], data_root)]
    kept = [entry.spec.name for entry in entries if entry not in without]
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
        if entry.spec.source.access not in ("generated", "bundled"):
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
