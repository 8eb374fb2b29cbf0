"""Specs are frozen facts; the public names load nothing until they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import umedpt_core
from umedpt_core import (
    AugmentationSpec,
    LabelTypeSpec,
    LoggerSpec,
    NormSpec,
    Reference,
    Source,
    TaskSpec,
    Whole,
)
from umedpt_core.specs import Spec, resolve

SOURCE = Source(homepage="h", licence="MIT", citation="c", access="open")
TASK = TaskSpec(
    name="a", label_type="b", modality="MRI", classes=("x",), cases="m:f", fake="m:f", source=SOURCE
)  # fmt: skip


def task(**fields) -> TaskSpec:
    return TaskSpec.model_validate(dict(TASK) | fields)


slugs = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True)
imports = st.from_regex(r"[a-z_]+(\.[a-z_]+)*:[A-Za-z_]+", fullmatch=True)
texts = st.lists(st.text(), max_size=3).map(tuple)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)  # fmt: skip
sources = st.builds(Source, homepage=st.text(), download=texts)
references = st.builds(
    Reference,
    value=st.floats(allow_nan=False, allow_infinity=False),
    needed=st.dictionaries(st.text(), st.floats(0, 1, exclude_min=True), max_size=2),
)
tasks = st.builds(
    TaskSpec,
    name=slugs,
    label_type=slugs,
    augmentation=slugs,
    classes=st.lists(st.text(), min_size=1, max_size=4, unique=True).map(tuple),
    cases=imports,
    fake=imports,
    intensity=st.sampled_from(["uint8", "dtype", "ct", "mri"]) | imports,
    instances=st.builds(Whole, size=st.integers(32, 4096) | st.just((64, 96))),
    source=sources,
    suites=texts,
    splits=st.sampled_from([(), ("train",), ("train", "test"), ("train", "val", "test")]),
    options=st.none() | imports,
    label_options=st.dictionaries(st.text(), json_values, max_size=3),
    references=st.lists(references, max_size=2).map(tuple),
)
label_types = st.builds(
    LabelTypeSpec,
    name=slugs,
    metrics=st.just(("f1",)),
    blocks=st.just(("pixels", "pyramid")),
    factory=imports,
)
augmentations = st.builds(
    AugmentationSpec, name=slugs, image=st.none() | imports, volume=st.none() | imports
)
norms = st.builds(NormSpec, name=slugs, swap=imports)
loggers = st.builds(LoggerSpec, name=slugs, open=imports)


@given(tasks | label_types | augmentations | norms | loggers)
def test_specs_survive_json(spec):
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("spec", [TASK, SOURCE, Whole(), NormSpec(name="n", swap="m:f")])
def test_specs_are_frozen_and_refuse_unknown_fields(spec: Spec):
    field = next(iter(type(spec).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(spec, field, getattr(spec, field))
    with pytest.raises(ValidationError, match="Extra inputs"):
        type(spec).model_validate(dict(spec) | {"hue": 1})


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "Upper"},
        {"name": "two--hyphens"},
        {"name": "under_score"},
        {"name": "line\n"},
        {"classes": ()},
        {"classes": ("x", "x")},
        {"splits": ("val",)},
        {"splits": ("train", "dev")},
        {"cases": "no.colon"},
        {"cases": "m:"},
        {"cases": "a b:f"},
        {"cases": print},
        {"intensity": "int8"},
        {"instances": {"size": 8}},
        {"instances": {"size": (8, 8, 8)}},
    ],
    ids=str,
)
def test_a_task_that_cannot_be_right_is_refused(fields):
    assert task() == TASK
    with pytest.raises(ValidationError, match=next(iter(fields))):
        task(**fields)


def test_an_import_string_is_resolved_when_asked():
    assert resolve("pathlib:Path.home") == Path.home
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        resolve("nowhere:f")
    with pytest.raises(AttributeError, match="nothing"):
        resolve("pathlib:Path.nothing")


def test_the_package_loads_nothing_heavy():
    code = (
        "import sys, umedpt_core; from umedpt_core import TaskSpec, load_catalogue, ConfigError;"
        "print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "umedpt_core.catalogue" in loaded
    assert not {"torch", "numpy", "PIL", "timm", "albumentations", "yaml", "rich"} & set(loaded)


@pytest.mark.parametrize("name", umedpt_core.__all__)
def test_every_public_name_resolves(name):
    assert getattr(umedpt_core, name) is not None
    assert name in dir(umedpt_core)


def test_what_type_checkers_see_is_what_there_is():
    """The imports under TYPE_CHECKING are the lazy names, from the same modules."""
    tree = ast.parse(Path(umedpt_core.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {(node.module, alias.name) for node in block.body for alias in node.names}
    assert seen == {(home, name) for name, home in umedpt_core._HOME_OF.items()}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = umedpt_core.Nothing
