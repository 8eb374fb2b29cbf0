"""The mix file: which tasks to pretrain on, and how (paper: Multi-task training strategy)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .catalogue import Catalogue
from .errors import ConfigError
from .missing import missing_tasks
from .mixdata import differences, first_error, set_value
from .requires import check_requirement, version_range
from .specs import TaskSpec


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderSettings(_Section):
    """A timm backbone; `pretrained` is false, true (timm's own weights) or a path to weights."""

    name: str = "swin_tiny_patch4_window7_224"
    pretrained: bool | str = False


class DecoderSettings(_Section):
    """Widths of the shared decoders, in channels."""

    pixels: int = Field(64, ge=8)
    pyramid: int = Field(128, ge=8)


class Architecture(_Section):
    """What the shared blocks are built from: the same keys as in a mix."""

    encoder: EncoderSettings = EncoderSettings()
    norm: str | None = "layernorm"
    decoders: DecoderSettings = DecoderSettings()


class ScheduleSettings(_Section):
    """How tasks take turns.

    Attributes:
        name: ``cyclic``: every task in every optimizer step. ``traditional``: likewise in turn,
            but a step after every batch, without accumulation. ``balanced`` and ``weighted``:
            drawn at random, by the size of the datasets or by `repeats`.
        update: Batches an optimizer step; None: 1 for ``traditional``, else those of a cycle.
    """

    name: Literal["cyclic", "traditional", "balanced", "weighted"] = "cyclic"
    update: int | None = Field(None, ge=1)


class OptimizerSettings(_Section):
    """AdamW for all parameters.

    Attributes:
        lr: Learning rate.
        encoder_lr: That of the encoder, for one that starts from pretrained weights; None: `lr`.
        hold: Optimizer steps at first in which the encoder stays as it is. Heads start at random,
            and before they know how common each class is they would bend a pretrained encoder.
        weight_decay: Weight decay.
        schedule: The rate after the warm-up: ``constant``, or ``cosine`` down to 0.
        warmup: Optimizer steps in which the rate rises linearly.
        clip: The largest norm of all gradients together; None does not clip.
        layer_decay: Factor of the rate from each of the encoder's layers to the one before it;
            None: one rate for all.
    """

    lr: float = Field(1e-3, gt=0, lt=10)
    encoder_lr: float | None = Field(None, gt=0, lt=10)
    hold: int = Field(0, ge=0)
    weight_decay: float = Field(0.05, ge=0, lt=10)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = Field(0, ge=0)
    clip: float | None = Field(None, gt=0)
    layer_decay: float | None = Field(None, gt=0, le=1)


class TaskSettings(_Section):
    """One task of a mix.

    Attributes:
        task: Its name.
        batch_size: Instances a batch.
        repeats: Batches an optimizer step.
        weight: Factor of its loss.
        root: The folder of its data; default: the plugin's folder under the data root.
        augmentation: A profile, or ``none``; default: the task's own.
        options: The task's options.
        eval_cases: Evaluate on at most this many held-out cases; default: all.
    """

    task: str
    batch_size: int = Field(8, ge=1)
    repeats: int = Field(1, ge=1)
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    root: str | None = None
    augmentation: str | None = None
    options: dict[str, Any] = {}
    eval_cases: int | None = Field(None, ge=1)

    def profile(self, spec: TaskSpec) -> str | None:
        """The name of the augmentation profile; None augments nothing."""
        name = self.augmentation or spec.augmentation
        return None if name == "none" else name


class Mix(_Section):
    """A pretraining mix. Every key but `tasks` has a default.

    Attributes:
        requires: Distributions with version ranges, checked first.
        seed: Decides everything random.
        encoder: The shared encoder.
        norm: The norm that replaces all others; None keeps the encoder's own.
        decoders: The shared decoders.
        schedule: How tasks take turns.
        optimizer: AdamW's settings.
        epochs: Number of evaluations, so to speak: an epoch is `steps_per_epoch` long.
        steps_per_epoch: Optimizer steps between two evaluations and checkpoints.
        image_size: Every instance becomes a square of this side; None: as each task says.
        precision: ``bf16`` (autocast) or ``fp32``; None: bf16 on a GPU, fp32 elsewhere.
        ema: Decay of an average of the weights, which is then evaluated and kept; None: none.
        compile: Compile the encoder. It pays on a GPU, after minutes.
        share: What several processes do with a step: they share out its ``tasks``, or each takes
            its own ``batches`` of all of them.
        window: Volumes or slides of a task that are in use at a time and share its batches.
        keep: Checkpoints to keep; the latest is always one of them.
        select: The model to keep: the ``last``, as in the paper, or the ``best`` by mean held-out
            loss.
        log_every: Optimizer steps between two train rows of ``metrics.jsonl``.
        skip_limit: Share of a task's cases that may be unusable before the run stops.
        tasks: The tasks.
    """

    requires: tuple[str, ...] = ()
    seed: int = Field(0, ge=0)
    encoder: EncoderSettings = EncoderSettings()
    norm: str | None = "layernorm"
    decoders: DecoderSettings = DecoderSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    epochs: int = Field(10, ge=1)
    steps_per_epoch: int = Field(100, ge=1)
    image_size: int | None = Field(None, ge=32)
    window: int = Field(8, ge=1)
    precision: Literal["bf16", "fp32"] | None = None
    ema: float | None = Field(None, gt=0, lt=1)
    compile: bool = False
    share: Literal["tasks", "batches"] = "tasks"
    keep: int = Field(2, ge=1)
    select: Literal["last", "best"] = "last"
    log_every: int = Field(10, ge=1)
    skip_limit: float = Field(0.05, ge=0, le=1)
    tasks: tuple[TaskSettings, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> Mix:
        names = [entry.task for entry in self.tasks]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"task '{min(twice)}' is listed twice; use repeats: 2 for two batches")
        return self

    @property
    def architecture(self) -> Architecture:
        """The part of the mix that the shared blocks are built from."""
        return Architecture(encoder=self.encoder, norm=self.norm, decoders=self.decoders)

    def wants_bf16(self, device: str) -> bool:
        """Whether to train in bfloat16 on a kind of device."""
        return self.precision == "bf16" or (self.precision is None and device == "cuda")

    @property
    def by_name(self) -> list[TaskSettings]:
        """The tasks in name order, in which a step runs them: listing order has no meaning."""
        return sorted(self.tasks, key=lambda entry: entry.task)

    @classmethod
    def load(cls, path: Path | str, settings: Iterable[str] = ()) -> Mix:
        """Read a mix file.

        Args:
            path: A YAML file.
            settings: ``key.sub=value`` overrides, the value in YAML; a task's keys are
                ``tasks.NAME.key``.

        Raises:
            ConfigError: Missing, no YAML, an unknown key or an invalid value; the message names
                file and key.
        """
        try:
            content = yaml.safe_load(Path(path).read_text())
        except FileNotFoundError as error:
            raise ConfigError(
                f"{path}: no such mix file; make one with 'umedpt mix new'"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from error
        return cls.parse(content, settings, where=str(path))

    @classmethod
    def parse(cls, content: Any, settings: Iterable[str] = (), where: str = "mix") -> Mix:
        """Validate a mix from plain data; see :meth:`load`."""
        if not isinstance(content, dict):
            raise ConfigError(f"{where}: a mix is a mapping with at least the key 'tasks'")
        for setting in settings:
            set_value(content, setting)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ConfigError(f"{where}: {first_error(error)}") from error

    @classmethod
    def compose(
        cls,
        catalogue: Catalogue,
        selectors: Iterable[str],
        exclude: Iterable[str] = (),
        settings: Iterable[str] = (),
        *,
        base: Mapping[str, Any] | None = None,
    ) -> Mix:
        """A mix of all the tasks that selectors choose, with everything else at its default.

        Args:
            catalogue: Where the tasks are registered.
            selectors: See :meth:`.Catalogue.select`.
            exclude: Likewise, of tasks to take away.
            settings: Overrides; see :meth:`load`.
            base: The plain data of a mix whose keys take the place of the defaults. Its tasks are
                left out but for those that are chosen.

        Raises:
            ConfigError: A selector, a setting or a task's needs are wrong.
        """
        names = catalogue.select(selectors, exclude)
        if not names:
            raise ConfigError("the selectors leave no task; see 'umedpt tasks'")
        content = deepcopy(dict(base or {}))
        entries = {entry["task"]: entry for entry in content.get("tasks", ())}
        content["tasks"] = [entries.get(name, {"task": name}) for name in names]
        mix = cls.parse(content, settings)
        mix.check(catalogue)
        needed = dict(sorted(mix.distributions(catalogue)))
        requires = tuple(f"{name}{version_range(version)}" for name, version in needed.items())
        return mix.model_copy(update={"requires": requires})

    def distributions(self, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
        """Name and version of every distribution that the mix uses."""
        if self.norm:
            norm = catalogue.find("norm", self.norm)
            yield norm.distribution, norm.version
        for settings in self.tasks:
            task = catalogue.find("task", settings.task)
            used = [task, catalogue.find("label type", task.spec.label_type)]
            if profile := settings.profile(task.spec):
                used.append(catalogue.find("augmentation", profile))
            for entry in used:
                yield entry.distribution, entry.version

    def check(self, catalogue: Catalogue) -> None:
        """Check that everything the mix names is installed, in a version that it asks for.

        Raises:
            ConfigError: The message has the pip command that helps.
        """
        for line in self.requires:
            check_requirement(line)
        if text := missing_tasks(catalogue, (entry.task for entry in self.by_name)):
            raise ConfigError(text)
        for _ in self.distributions(catalogue):
            pass

    def dump(self) -> str:
        """The mix as YAML, defaults included."""
        text: str = yaml.safe_dump(
            self.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100
        )
        return text

    def differences(self, other: Mix) -> list[str]:
        """The keys in which two mixes differ, each with both values."""
        return list(differences(self.model_dump(mode="json"), other.model_dump(mode="json")))
