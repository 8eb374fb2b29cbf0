"""The cells of a benchmark and what all of them share (paper: Clinical validation)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..catalogue import Catalogue
from ..errors import ConfigError
from ..specs import TaskSpec
from ..transfer.settings import AdaptSettings, Mode

MODES: tuple[Mode, ...] = get_args(Mode)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
FILE = "grid.json"


class Cell(NamedTuple):
    """One adaptation: a model, a task, a mode and a draw of training cases.

    Attributes:
        task: A registered task.
        model: The name that the grid gives to a model.
        mode: As in :class:`AdaptSettings`.
        fraction: Share of the training cases, in (0, 1].
        draw: From 0.
    """

    task: str
    model: str
    mode: Mode
    fraction: float
    draw: int

    @property
    def key(self) -> str:
        """``TASK/MODEL/MODE/PERCENT-DRAW``, its folder below ``cells``."""
        return f"{self.task}/{self.model}/{self.mode}/{100 * self.fraction:g}-{self.draw}"

    def place(self) -> tuple[str, str, int, float, int]:
        """By what cells are sorted in a table."""
        return self.task, self.model, MODES.index(self.mode), self.fraction, self.draw


class GridTask(BaseModel):
    """A task of a grid.

    Attributes:
        label_type: The name of its label type.
        options: The task's own options.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_type: str
    options: dict[str, Any] = {}


def _as_written(fraction: float) -> float:
    """The fraction as a cell's key shows it, so that no two share a key."""
    return float(f"{100 * fraction:g}") / 100


Fraction = Annotated[float, Field(gt=0, le=1), AfterValidator(_as_written)]


class Grid(BaseModel):
    """Models x tasks x modes x fractions x draws, and the settings that all cells share.

    Attributes:
        models: Name to MODEL, as :func:`umedpt_core.adapt` takes it.
        tasks: By name.
        modes: How the models are adapted.
        fractions: Shares of the training cases.
        draws: Draws a fraction.
        settings: Of every cell. A cell has its own mode, and as its seed this one plus its draw.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, str] = Field(min_length=1)
    tasks: dict[str, GridTask] = Field(min_length=1)
    modes: tuple[Mode, ...] = Field(min_length=1)
    fractions: tuple[Fraction, ...] = Field(min_length=1)
    draws: int = Field(ge=1)
    settings: AdaptSettings

    def cells(self) -> list[Cell]:
        """All cells: cheap modes first, those of a model and task together, small draws first."""
        return [
            Cell(task, model, mode, fraction, draw)
            for mode in MODES
            if mode in self.modes
            for task in sorted(self.tasks)
            for model in self.models
            for fraction in sorted(set(self.fractions))
            for draw in range(self.draws)
        ]

    def settings_of(self, cell: Cell) -> AdaptSettings:
        """The settings of one cell."""
        own = {"mode": cell.mode, "seed": self.settings.seed + cell.draw}
        return self.settings.model_copy(update=own)

    def extended(self, new: Grid, folder: Path) -> Grid:
        """This grid with what another one adds.

        Args:
            new: May have more of everything but the settings.
            folder: Where this grid lies, for the message.

        Raises:
            ConfigError: A setting, a model or a task's options differ.
        """
        for what, here, there in self._differences(new):
            raise ConfigError(
                f"--output {folder}: this grid has {what} {here}, not {there}; "
                "choose another --output"
            )
        return Grid(
            models=self.models | new.models,
            tasks=self.tasks | new.tasks,
            modes=tuple(mode for mode in MODES if mode in self.modes + new.modes),
            fractions=tuple(sorted({*self.fractions, *new.fractions})),
            draws=max(self.draws, new.draws),
            settings=self.settings,
        )

    def _differences(self, new: Grid) -> Iterable[tuple[str, Any, Any]]:
        ours, theirs = self.settings.model_dump(), new.settings.model_dump()
        pairs = [(name, ours[name], theirs[name]) for name in ours if name != "mode"]
        pairs += [(f"model {n} =", m, new.models.get(n, m)) for n, m in self.models.items()]
        for name in self.tasks.keys() & new.tasks.keys():
            here, there = self.tasks[name], new.tasks[name]
            pairs.append((f"task {name} with label type", here.label_type, there.label_type))
            pairs.append((f"task {name} with options", here.options, there.options))
        return [pair for pair in pairs if pair[1] != pair[2]]


def load_grid(file: Path) -> Grid | None:
    """The grid that a file holds; None where there is no file.

    Raises:
        ConfigError: It holds none.
    """
    if not file.exists():
        return None
    try:
        return Grid.model_validate_json(file.read_bytes())
    except ValidationError as error:
        detail = error.errors()[0]
        raise ConfigError(
            f"{file}: no grid ({'.'.join(map(str, detail['loc']))}: {detail['msg']}); choose "
            "another --output"
        ) from error


def make_grid(
    catalogue: Catalogue,
    models: Mapping[str, str],
    tasks: Iterable[str],
    *,
    modes: Iterable[str],
    fractions: Iterable[float],
    draws: int,
    settings: AdaptSettings,
    options: Mapping[str, dict[str, Any]] | None = None,
) -> Grid:
    """A checked grid.

    Args:
        catalogue: Where the tasks are registered.
        models: Name to MODEL.
        tasks: Their names.
        modes: As in :class:`AdaptSettings`.
        fractions: Shares of the training cases, in (0, 1].
        draws: Draws a fraction.
        settings: Of every cell.
        options: Task to its options.

    Raises:
        ConfigError: A name is unknown or no simple word, a model's folder is missing, a task has
            no test split, or a value is out of range.
    """
    options = options or {}
    if settings.augmentation not in (None, "none"):
        catalogue.find("augmentation", settings.augmentation)
    for name, model in models.items():
        _check_model(name, model)
    chosen = {}
    for task in tasks:
        spec: TaskSpec = catalogue.find("task", task).spec
        if "test" not in spec.all_splits:
            raise ConfigError(f"task {task} has no test split to score on; leave it out")
        chosen[task] = {"label_type": spec.label_type, "options": options.get(task, {})}
    if unused := sorted(options.keys() - chosen.keys()):
        raise ConfigError(f"an option is for '{unused[0]}', which is no task of this grid")
    try:
        return Grid.model_validate(
            {
                "models": dict(models),
                "tasks": chosen,
                "modes": tuple(modes),
                "fractions": tuple(fractions),
                "draws": draws,
                "settings": settings,
            }
        )
    except ValidationError as error:
        detail = error.errors()[0]
        where = str(detail["loc"][0])
        raise ConfigError(f"--{where}: {detail['msg'].lower()}, got {detail['input']}") from error


def _check_model(name: str, model: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(f"--model {name}={model}: the name is to be letters, digits, '-', '_'")
    kind, colon, rest = model.partition(":")
    if colon and kind in ("timm", "random"):
        _, at, file = rest.partition("@")
        if at and not Path(file).is_file():
            raise ConfigError(f"--model {name}={model}: there is no file {file}")
    elif not any((Path(model) / inner / "config.json").is_file() for inner in (".", "model")):
        raise ConfigError(
            f"--model {name}={model}: no model at '{model}'; give a run, a saved model, timm:NAME "
            "or random:NAME"
        )
