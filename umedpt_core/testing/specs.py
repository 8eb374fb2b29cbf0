"""Checks of every spec, whatever its kind."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..hookspecs import KINDS
from ..specs import resolve
from .kit import ANY, Failure, Subject, check

NO_STRINGS = {"name", "label_type", "modality", "augmentation", "summary"}
STRING = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


@check(
    ANY,
    "the spec survives a round trip through JSON",
    hint="give strings, numbers, lists and mappings only, and no model_construct or model_copy",
)
def spec(subject: Subject) -> None:
    """It is valid, and what JSON keeps of it is the same."""
    registered = subject.spec
    again = type(registered).model_validate_json(registered.model_dump_json())
    for field in type(registered).model_fields:
        before, after = getattr(registered, field), getattr(again, field)
        if before != after:
            raise Failure(f"{field} is {before!r}, and {after!r} after a round trip")


@check(
    ANY,
    "distribution and name carry the slug",
    hint="see 'Names and clashes' in docs/hooks.md",
)
def named(subject: Subject) -> None:
    """The distribution has the prefix of one of its kinds; the name has what follows it."""
    distribution = subject.examination.distribution
    kinds = {other.kind for other in subject.examination.subjects if other.entry}
    prefixes = [prefix for kind, (_, _, prefix) in KINDS.items() if kind in kinds]
    prefix = next((prefix for prefix in prefixes if distribution.startswith(prefix)), None)
    if prefix is None:
        raise Failure(f"{distribution} does not start with {' or '.join(prefixes)}")
    slug = distribution.removeprefix(prefix)
    if subject.kind == "task":
        fits = subject.name == slug or subject.name.startswith(f"{slug}-")
        wanted = f"'{slug}' or '{slug}-...'"
    else:
        fits = f"-{slug}-" in f"-{subject.name}-"
        wanted = f"a name with '{slug}' in it"
    if not fits:
        raise Failure(f"'{subject.name}' is not {wanted}")


@check(
    ANY,
    "its import strings resolve",
    hint="import strings are 'package.module:name'; install what the module imports",
)
def resolves(subject: Subject) -> None:
    """Each import string names something that can be called."""
    for field, string in import_strings(subject):
        try:
            found = resolve(string)
        except (Exception, SystemExit) as error:
            raise Failure(f"{field} '{string}': {type(error).__name__}: {error}") from error
        if not callable(found):
            raise Failure(f"{field} '{string}' is {type(found).__name__}, which nobody can call")


def import_strings(subject: Subject) -> Iterator[tuple[str, str]]:
    """The fields of a spec that hold import strings, with them."""
    for field in type(subject.spec).model_fields:
        value = getattr(subject.spec, field)
        if field not in NO_STRINGS and isinstance(value, str) and STRING.fullmatch(value):
            yield field, value
