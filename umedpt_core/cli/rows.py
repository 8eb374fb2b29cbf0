"""The rows of ``umedpt tasks --json``, from which docs/tasks.schema.json is made."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from ..catalogue import Entry
from ..specs import Access, Commercial, Instances, Slug, Spec, TaskSpec


class TaskRow(Spec):
    """What is known of a task without its data; the fields are those of the specs."""

    name: Slug
    label_type: Slug
    modality: str
    classes: tuple[str, ...]
    augmentation: Slug
    instances: Instances
    intensity: str
    licence: str
    commercial: Commercial
    homepage: str
    access: Access
    suites: tuple[str, ...]
    distribution: str
    version: str

    @classmethod
    def of(cls, entry: Entry[TaskSpec]) -> TaskRow:
        """The row of a registered task."""
        facts = {**dict(entry.spec.source), **dict(entry.spec)}
        facts |= {"distribution": entry.distribution, "version": entry.version}
        return cls(**{field: facts[field] for field in cls.model_fields})


def schema() -> dict[str, Any]:
    """The JSON schema of the whole listing."""
    rows = TypeAdapter(tuple[TaskRow, ...]).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **rows}
