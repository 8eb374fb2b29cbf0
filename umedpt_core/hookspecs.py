"""Every extension point of umedpt.

A plugin is an installed distribution with an entry point in the group ``umedpt`` whose value is a
module. The module implements any of the hooks below, each a generator that yields frozen specs (see
:mod:`umedpt_core.specs`). Order has no meaning, no hook takes an argument, and new information will
arrive as optional fields of the specs, never as new hook arguments.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from .specs import AugmentationSpec, LabelTypeSpec, LoggerSpec, NormSpec, Spec, TaskSpec

hookspec = pluggy.HookspecMarker("umedpt")

KINDS: dict[str, tuple[str, type[Spec], str]] = {
    # kind: (hook, spec class, prefix of the distributions that bring it)
    "task": ("umedpt_tasks", TaskSpec, "umedpt-task-"),
    "label type": ("umedpt_label_types", LabelTypeSpec, "umedpt-label-"),
    "augmentation": ("umedpt_augmentations", AugmentationSpec, "umedpt-augment-"),
    "norm": ("umedpt_norms", NormSpec, "umedpt-norm-"),
    "logger": ("umedpt_loggers", LoggerSpec, "umedpt-log-"),
}


@hookspec
def umedpt_tasks() -> Iterable[TaskSpec]:  # type: ignore[empty-body]
    """Yield the tasks that the plugin brings: one for each way of learning from its dataset."""


@hookspec
def umedpt_label_types() -> Iterable[LabelTypeSpec]:  # type: ignore[empty-body]
    """Yield label types: a head, its loss, its metrics and its pictures."""


@hookspec
def umedpt_augmentations() -> Iterable[AugmentationSpec]:  # type: ignore[empty-body]
    """Yield augmentation profiles, from which a task names the one that suits its modality."""


@hookspec
def umedpt_norms() -> Iterable[NormSpec]:  # type: ignore[empty-body]
    """Yield ways of replacing the normalization layers of the shared blocks."""


@hookspec
def umedpt_loggers() -> Iterable[LoggerSpec]:  # type: ignore[empty-body]
    """Yield loggers, which receive the same events as ``metrics.jsonl``."""
