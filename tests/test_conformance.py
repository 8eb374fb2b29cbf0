"""The conformance kit: a good plugin passes every check, and each mutant fails exactly one."""

from __future__ import annotations

import json
import socket
import tempfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from umedpt_core.testing import Examination, all_checks
from umedpt_core.testing.watch import Watch

REQUIRED = (
    "umedpt-label-classification",
    "umedpt-augment-standard",
    "umedpt-norm-layernorm",
    'umedpt-augment-weak; extra == "test"',  # which does not come along
)
SOURCE = {
    "homepage": "https://example.org/data",
    "licence": "MIT",
    "citation": "Doe 2020",
    "access": "open",
    "download": ("unpack data.zip into the folder mutants of the data root",),
}

TASKS = """
def mutant(name, copied=None, **fields):
    facts = dict(cases="task_work:cases", fake="task_work:fake", modality="microscopy")
    return task(name, **(facts | fields)).model_copy(update=copied or {})

@hookimpl
def umedpt_tasks():
"""
TASK_WORK = """
import json, os, pathlib, socket
from dataclasses import dataclass
import numpy as np
from PIL import Image
from umedpt_core import DataError, FileCase, read_image

def fake(root, seed):
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(12):
        image = rng.integers(0, 100, (48, 64), np.uint8) + 100 * (number % 2)
        Image.fromarray(image.astype(np.uint8)).save(root / f"p{number}_{number % 2}.png")

def cases(root, split, options):
    found = [FileCase(p.name, p.stem[:-2], p, int(p.stem[-1])) for p in sorted(root.glob("*.png"))]
    if not found:
        raise DataError(f"{root}: no *.png here; unpack data.zip again")
    return found

def fake_raising(root, seed): raise RuntimeError("no fake")

def fake_astray(root, seed):
    fake(root, seed)
    pathlib.Path("stray.txt").write_text("here")

def fake_unseeded(root, seed):
    fake(root, seed)
    (root / "notes.txt").write_bytes(os.urandom(8))

def fake_large(root, seed):
    fake(root, seed)
    (root / "notes.txt").write_bytes(bytes(6_000_000))

def no_val(root, split, options):
    return [] if split == "val" else cases(root, split, options)

def same_ids(root, split, options):
    return [FileCase("image", c.patient, c.path, c.label) for c in cases(root, split, options)]

def both_sides(root, split, options):
    return [
        FileCase(f"{split}/{c.id}", c.patient, c.path, c.label) for c in cases(root, split, options)
    ]

@dataclass
class Odd:
    base: FileCase
    id = property(lambda self: self.base.id)
    patient = property(lambda self: self.base.patient)
    image = property(lambda self: self.base.image)
    target = property(lambda self: self.base.target)

def odd(kind):
    return lambda root, split, options: [kind(case) for case in cases(root, split, options)]

class Deep(Odd):
    image = property(lambda self: self.base.image.astype(np.uint16))
deep = odd(Deep)

class Fat(Odd):
    def __init__(self, base):
        self.base, self.pixels = base, base.image.repeat(9)
fat = odd(Fat)

class Caching(Odd):
    @property
    def image(self):
        (self.base.path.parent / "cache.json").write_text(json.dumps({}))
        return self.base.image
caching = odd(Caching)

class Calling(Odd):
    @property
    def image(self):
        try:
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        except OSError:
            return self.base.image
calling = odd(Calling)

FIRST = os.environ.setdefault("FICKLE", str(os.getpid())) == str(os.getpid())

class Fickle(Odd):
    image = property(lambda self: self.base.image // 2 + FIRST)
fickle = odd(Fickle)

def made_up(root, split, options):
    return [Drawn(number) for number in range(12)]

@dataclass
class Drawn:
    number: int
    id = patient = property(lambda self: f"p{self.number}")
    image = property(lambda self: np.full((48, 64), 9 * self.number, np.uint8))
    target = property(lambda self: self.number % 2)
"""
GOOD_TASK = {"source": SOURCE}
TASK_MUTANTS = {
    # the check that it fails: the fields in which it differs from the good one
    "spec": {"copied": {"suites": ["a list"]}},
    "resolves": {"cases": "task_work:nothing"},
    "terms": {"source": SOURCE | {"citation": " "}},
    "parts": {"label_type": "not-there"},
    "requires": {"augmentation": "weak"},
    "fake": {"fake": "task_work:fake_raising"},
    "fake-contained": {"fake": "task_work:fake_astray"},
    "fake-seeded": {"fake": "task_work:fake_unseeded"},
    "fake-small": {"fake": "task_work:fake_large"},
    "missing": {"cases": "task_work:made_up"},
    "opens": {"cases": "task_work:no_val", "splits": ("train", "val")},
    "cases": {"cases": "task_work:deep"},
    "ids": {"cases": "task_work:same_ids"},
    "patients": {"cases": "task_work:both_sides", "splits": ("train", "test")},
    "pickles": {"cases": "task_work:fat"},
    "untouched": {"cases": "task_work:caching"},
    "offline": {"cases": "task_work:calling"},
    "worker": {"cases": "task_work:fickle"},
    "step": {"label_type": "mutants-loss"},
    "augmented": {
        "augmentation": "mutants-turned",
        "instances": {"kind": "whole", "size": (32, 64)},
    },
}

LABELS = """
def mutant(name, factory):
    return LabelTypeSpec(
        name=name, blocks=("embedding",), metrics=("f1", "accuracy", "auc"),
        factory=f"label_work:{factory}",
    )

@hookimpl
def umedpt_label_types():
"""
LABEL_WORK = """
import numpy as np
import torch
from umedpt_label_classification.head import Classification

class Good(Classification): pass

class Unpicklable(Good):
    def __init__(self, classes):
        super().__init__(classes)
        self.name = lambda: "a lambda"

class Unseeded(Good):
    def random_target(self, size, rng): return np.random.default_rng().integers(3)

class Arrays(Good):
    def collate(self, targets): return np.array(targets)

class Loud(Good):
    def loss(self, head, blocks, batch): return 5 * super().loss(head, blocks, batch)

class Detached(Good):
    def loss(self, head, blocks, batch):
        class Cut:
            def embedding(self, x_BCHW): return blocks.embedding(x_BCHW).detach()
        return super().loss(head, Cut(), batch)

class Short(Good):
    def unbatch(self, prediction): return super().unbatch(prediction)[1:]

class Renamed(Good):
    def metric(self):
        metric = super().metric()
        compute = metric.compute
        metric.compute = lambda chosen=None: {**compute(chosen), "kappa": 0.5}
        return metric

class Once(Good):
    def metric(self):
        metric = super().metric()
        compute = metric.compute
        metric.compute = lambda chosen=None: compute(chosen and sorted(set(chosen)))
        return metric

class Counted(Good):
    def classes_in(self, target): return {target + 1}

class Numbered(Good):
    def row(self, item): return {**super().row(item), "class": int(item.argmax())}

class Painting(Good):
    def draw(self, image, target):
        image[:4] = 0
        return image
"""
LABEL_MUTANTS = {
    "makes": {"factory": "Unpicklable"},
    "targets": {"factory": "Unseeded"},
    "collates": {"factory": "Arrays"},
    "loss": {"factory": "Loud"},
    "gradients": {"factory": "Detached"},
    "predicts": {"factory": "Short"},
    "metrics": {"factory": "Renamed"},
    "chooses": {"factory": "Once"},
    "classes-in": {"factory": "Counted"},
    "rows": {"factory": "Numbered"},
    "draws": {"factory": "Painting"},
}

AUGMENTATIONS = """
def mutant(name, function="good", volume="good_volume"):
    return AugmentationSpec(
        name=name, image=f"augment_work:{function}", volume=f"augment_work:{volume}"
    )

@hookimpl
def umedpt_augmentations():
"""
AUGMENTATION_WORK = """
import albumentations as A
import numpy as np
import torch

def good(): return [A.Affine(rotate=(-30, 30), p=0.9), A.RandomBrightnessContrast(p=0.5)]

def misspelt(): return [A.HorizontalFlip(probability=0.5)]

def brightened(): return [Noise(lambda: 1.5)]

def floating(): return [Floating(p=1.0)]

def turned(): return [A.Transpose(p=1.0)]

def unseeded(): return [Noise(lambda: np.random.uniform(0.5, 1))]

def good_volume():
    from monai.transforms import RandRotated
    return [RandRotated(("image", "mask"), 0.3, prob=0.9, allow_missing_keys=True)]

def demanding_volume():
    from monai.transforms import RandAxisFlipd
    return [RandAxisFlipd(("image", "mask"), 0.5)]

def several_volumes():
    from monai.transforms import RandSpatialCropSamplesd
    return [RandSpatialCropSamplesd(("image", "mask"), 8, 2, allow_missing_keys=True)]

def background_volume(): return [mapped("mask", lambda mask: mask.index_fill(1, FIRST, 1))]

def unseeded_volume(): return [mapped("image", lambda image: image * np.random.uniform(0.5, 1))]

FIRST = torch.tensor([0, 1])

def mapped(key, function):
    from monai.transforms import Lambdad
    return Lambdad(key, function, allow_missing_keys=True)

class Noise(A.ImageOnlyTransform):
    def __init__(self, draw, p=1.0):
        super().__init__(p=p)
        self.draw = draw
    def apply(self, img, **params): return (img * self.draw()).astype(img.dtype)

class Floating(A.HorizontalFlip):
    def apply_to_mask(self, mask, **params): return mask.astype(np.float32)
"""
AUGMENTATION_MUTANTS = {
    "composes": {"function": "misspelt"},
    "images": {"function": "brightened"},
    "moves": {"function": "floating"},
    "seeded": {"function": "unseeded"},
    "volume-composes": {"volume": "demanding_volume"},
    "volumes": {"volume": "several_volumes"},
    "volume-outside": {"volume": "background_volume"},
    "volume-seeded": {"volume": "unseeded_volume"},
}

NORMS = """
def mutant(name, function):
    return NormSpec(name=name, swap=f"norm_work:{function}")

@hookimpl
def umedpt_norms():
"""
NORM_WORK = """
from torch import nn

def good(old, channels): return None if isinstance(old, nn.RMSNorm) else nn.Identity()
def text(old, channels): return "GroupNorm"
def shrinking(old, channels): return nn.AvgPool2d(2)
def chatty(old, channels): print("swapping")
"""
NORM_MUTANTS = {"swaps": {"function": "text"}, "norms": {"function": "shrinking"}}

LOGGERS = """
def mutant(name, function):
    return LoggerSpec(name=name, open=f"log_work:{function}")

@hookimpl
def umedpt_loggers():
"""
LOGGER_WORK = """
import pathlib

class good:
    def __init__(self, folder): self.file = (folder / "log.txt").open("w")
    def log(self, event): self.file.write(f"{event}\\n")
    def close(self): self.file.close()

class narrow(good):
    def log(self, event): self.file.write(event["task"])

class astray(good):
    def close(self):
        super().close()
        (pathlib.Path.home() / "summary.txt").write_text("done")
"""
LOGGER_MUTANTS = {"logs": {"function": "narrow"}, "logger-contained": {"function": "astray"}}

PLUGINS = {
    # distribution: the code of its module and of its second one, the good one, the mutants
    "umedpt-task-mutants": (TASKS, TASK_WORK, GOOD_TASK, TASK_MUTANTS),
    "umedpt-label-mutants": (LABELS, LABEL_WORK, {"factory": "Good"}, LABEL_MUTANTS),
    "umedpt-augment-mutants": (
        AUGMENTATIONS,
        AUGMENTATION_WORK,
        {"function": "good"},
        AUGMENTATION_MUTANTS,
    ),
    "umedpt-norm-mutants": (NORMS, NORM_WORK, {"function": "good"}, NORM_MUTANTS),
    "umedpt-log-mutants": (LOGGERS, LOGGER_WORK, {"function": "good"}, LOGGER_MUTANTS),
}
SPEC_MUTANTS = [(name, check) for name, (*_, mutants) in PLUGINS.items() for check in mutants]
NORM = """
@hookimpl
def umedpt_norms():
    yield NormSpec(name="{slug}", swap="norm_work:good")
"""
PLUGIN_MUTANTS = {
    # the check that it fails: its distribution, its code
    "loads": ("umedpt-norm-failing", "raise RuntimeError('boom')"),
    "light": ("umedpt-norm-heavy", f"import numpy\n{NORM}"),
    "unique": ("umedpt-norm-clashing", NORM),
    "named": ("umedpt-norm-other", NORM.replace("{slug}", "else")),
}


@pytest.fixture(scope="module")
def examine(shared_site, tmp_path_factory):
    """Installs all plugins and gives the examination of one, in which each check runs once."""
    for name, (code, work, good, mutants) in PLUGINS.items():
        specs = {"good": good} | {check: good | change for check, change in mutants.items()}
        if name == "umedpt-augment-mutants":
            specs["turned"] = {"function": "turned"}  # for a mutant of a task
        lines = (f"    yield mutant('mutants-{key}', **{spec})\n" for key, spec in specs.items())
        info = shared_site.add(name, code + "".join(lines))
        with (info / "METADATA").open("a") as file:
            indirect = ("umedpt-label-mutants", "umedpt-augment-mutants")
            needs = indirect if name == "umedpt-task-mutants" else REQUIRED
            file.writelines(f"Requires-Dist: {other}\n" for other in needs)
        (shared_site.folder / f"{name.split('-')[1]}_work.py").write_text(work)
    rival = NORM.replace("{slug}", "clashing")
    for name, code in [*PLUGIN_MUTANTS.values(), ("umedpt-norm-rival", rival)]:
        shared_site.add(name, code.replace("{slug}", name.removeprefix("umedpt-norm-")))
    chatty = NORM.replace("{slug}", "fine").replace(":good", ":chatty")
    shared_site.add("umedpt-norm-fine", chatty)
    catalogue = shared_site.load()
    return cache(lambda name: Examination(name, catalogue, tmp_path_factory.mktemp(name)))


def failed(examination, name=None):
    """The checks that fail, of one spec or of all."""
    subjects = [s for s in examination.subjects if name in (None, s.name)]
    results = [examination.result(c.name, s) for c, s in examination.items if s in subjects]
    assert results
    return {result.check.name: result for result in results if result.status == "failed"}


def test_every_check_has_its_mutant():
    mutants = [check for _, check in SPEC_MUTANTS] + list(PLUGIN_MUTANTS)
    assert sorted(mutants) == sorted(check.name for check in all_checks())


def test_every_check_is_described():
    text = (Path(__file__).parents[1] / "docs" / "hooks.md").read_text()
    for check in all_checks():
        of = "everything" if check.kind == "any" else check.kind
        title = check.title[0].upper() + check.title[1:]
        assert f"| `{check.name}` | {of} | {title}. |\n" in text


@pytest.mark.parametrize("distribution", PLUGINS)
def test_good_plugins_pass_every_check(examine, distribution):
    examination = examine(distribution)
    for check, subject in examination.items:
        if subject.name in ("", "mutants-good"):
            result = examination.result(check.name, subject)
            assert (check.name, result.status, result.message) == (check.name, "ok", "")


@pytest.mark.parametrize(("distribution", "check"), SPEC_MUTANTS)
def test_a_mutant_spec_fails_its_check_and_no_other(examine, distribution, check):
    found = failed(examine(distribution), f"mutants-{check}")
    assert {name: result.message for name, result in found.items()}.keys() == {check}
    (result,) = found.values()
    assert result.message
    assert "\n" not in result.message
    assert result.hint


@pytest.mark.parametrize("check", PLUGIN_MUTANTS)
def test_a_mutant_plugin_fails_its_check_and_no_other(examine, check):
    assert failed(examine(PLUGIN_MUTANTS[check][0])).keys() == {check}


def test_what_needs_a_failed_check_is_skipped_and_says_so(examine):
    examination = examine("umedpt-task-mutants")
    (subject,) = [s for s in examination.subjects if s.name == "mutants-cases"]
    result = examination.result("step", subject)
    assert (result.status, result.blocked) == ("skipped", True)
    assert result.message == "needs 'cases have images and targets that fit'"


@pytest.mark.usefixtures("examine")
def test_the_report(shared_site):
    result = shared_site.invoke("check", "umedpt-norm-other")
    assert result.exit_code == 1
    assert result.stderr == ""
    assert "\nnorm else\n  ok       the spec survives a round trip through JSON\n" in result.stdout
    assert "  FAILED   distribution and name carry the slug\n" in result.stdout
    assert "           'else' is not a name with 'other' in it\n" in result.stdout
    assert "           hint: " in result.stdout
    assert result.stdout.splitlines()[-1].startswith("7 ok, 1 failed in ")
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.usefixtures("examine")
def test_the_report_as_json(shared_site):
    result = shared_site.invoke("check", "umedpt-norm-fine", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["distribution"] == "umedpt-norm-fine"
    assert report["ok"] is True
    assert report["counts"] == {"ok": 8, "failed": 0, "skipped": 0}
    (row,) = [row for row in report["checks"] if row["check"] == "norms"]
    assert (row["kind"], row["name"], row["status"]) == ("norm", "fine", "ok")


@pytest.mark.usefixtures("examine")
def test_a_traceback_only_on_request(shared_site):
    result = shared_site.invoke("--debug", "check", "umedpt-norm-failing")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "skipped" in result.stdout


@pytest.mark.usefixtures("examine")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nothing-like-it"], "no plugin distribution 'nothing-like-it' is installed"),
        (["check", "umedpt-norm-fin"], "did you mean 'umedpt-norm-fine'?"),
        (["check", "fine"], "did you mean 'umedpt-norm-fine'?"),
        (["--no-plugin", "umedpt-norm-fine", "check", "umedpt-norm-fine"], "is blocked"),
    ],
)
def test_what_cannot_be_checked(shared_site, arguments, message):
    result = shared_site.invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.usefixtures("examine")
def test_the_pytest_class(shared_site):
    (shared_site.folder / "test_other.py").write_text(
        "from umedpt_core.testing import Conformance\n"
        'class TestConformance(Conformance):\n    distribution = "umedpt-norm-other"\n'
    )
    code = "import sys, pytest; sys.exit(pytest.main(['-p', 'no:cacheprovider', *sys.argv[1:]]))"
    done = shared_site.python(code, "test_other.py")
    assert done.returncode == 1
    assert "1 failed, 7 passed" in done.stdout
    assert "test_other.py::TestConformance::test_conforms[else-named]" in done.stdout
    assert "hint: see 'Names and clashes'" in done.stdout


def test_a_watch_sees_python_native_code_and_the_network(tmp_path):
    root, empty, elsewhere = (tmp_path / name for name in ("root", "empty", "elsewhere"))
    for folder in (root, empty, elsewhere):
        folder.mkdir()
    place = Path.cwd()
    with Watch(empty, root) as watch:
        (root / "fine").mkdir()
        (root / "fine" / "a.txt").write_text("a")
        (elsewhere / "b.txt").write_text("b")
        cv2.imwrite("c.png", np.zeros((2, 2), np.uint8))
        (root / "fine" / "a.txt").read_text()
        with tempfile.TemporaryDirectory() as folder:  # gone again
            (Path(folder) / "slice.dcm").write_text("c")
        with pytest.raises(ConnectionRefusedError, match="no network"):
            socket.create_connection(("192.0.2.1", 80), timeout=1)
    assert watch.strays == [str(elsewhere / "b.txt"), "c.png"]
    assert len(watch.network) == 1
    assert "192.0.2.1" in watch.network[0]
    assert Path.cwd() == place
    (elsewhere / "d.txt").write_text("after it")
    assert len(watch.strays) == 2
