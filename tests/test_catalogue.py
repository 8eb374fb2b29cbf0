"""Plugins are found, blocked, isolated and chosen; the plugins here are real distributions."""

from __future__ import annotations

import json

import pluggy
import pytest

from umedpt_core import ConfigError, hookimpl, hookspecs
from umedpt_core.catalogue import Catalogue, Plugin, load_catalogue

HOOK = "@hookimpl\ndef umedpt_tasks():\n"
BROKEN = {
    # what is wrong: (code, status, part of the reason)
    "module missing": (None, "failed", "No module named 'umedpt_task_bad'"),
    "syntax": ("def :", "failed", "SyntaxError"),
    "raises": ("raise RuntimeError('boom')", "failed", "RuntimeError: boom"),
    "exits": ("import sys; sys.exit(3)", "failed", "SystemExit: 3"),
    "dependency missing": ("import no_such_thing", "failed", "No module named 'no_such_thing'"),
    "hook raises": (HOOK + "    raise RuntimeError('boom')", "failed", "umedpt_tasks raised Runt"),
    "hook raises later": (HOOK + "    yield task('bad')\n    1 / 0", "failed", "ZeroDivision"),
    "hook exits": (HOOK + "    raise SystemExit", "failed", "SystemExit"),
    "hook gives nothing": (HOOK + "    pass", "failed", "'NoneType' object is not iterable"),
    "not a spec": (HOOK + "    yield {}", "failed", "yielded dict, not TaskSpec"),
    "invalid": (HOOK + "    yield task('Not a slug')", "failed", "invalid TaskSpec: name: "),
    "unknown field": (HOOK + "    yield task('bad', hue=1)", "incompatible", "hue: Extra inputs"),
    "unknown hook": ("@hookimpl\ndef umedpt_x(): ...", "incompatible", "hook 'umedpt_x' is unk"),
    "unknown argument": ("@hookimpl\ndef umedpt_tasks(size): ...", "incompatible", "'size'"),
    "newer": ("UMEDPT_API = 2", "incompatible", "speaks API 2, the core 1: needs a newer umedpt"),
    "no version": ("UMEDPT_API = 'one'", "failed", "invalid literal for int()"),
}


def plugin_of(catalogue: Catalogue, distribution: str) -> Plugin:
    return next(p for p in catalogue.plugins if p.distribution == distribution)


@pytest.fixture(params=BROKEN)
def broken(request, site):
    """A plugin that is broken in one way beside one that is not: (site, status, reason)."""
    code, status, reason = BROKEN[request.param]
    site.add("umedpt-task-bad", code)
    site.add("umedpt-task-good")
    return site, status, reason


def test_a_broken_plugin_is_named_and_costs_nobody_else_anything(broken):
    site, status, reason = broken
    catalogue = site.load()
    bad = plugin_of(catalogue, "umedpt-task-bad")
    assert (bad.status, bad.clashes) == (status, [])
    assert reason in bad.reason
    assert "\n" not in bad.reason
    assert "bad" not in catalogue.tasks
    assert catalogue.tasks["good"].distribution == "umedpt-task-good"
    assert plugin_of(catalogue, "umedpt-task-good").status == "ok"
    with pytest.raises(ConfigError, match=f"{status}: .* pip install --upgrade umedpt-task-bad"):
        catalogue.find("task", "bad")


def test_strict_raises_what_would_be_recorded(broken, monkeypatch):
    site, status, _ = broken
    monkeypatch.setenv("UMEDPT_PLUGINS", "umedpt-task-bad,umedpt-task-good")
    with pytest.raises(ConfigError, match=f"umedpt-task-bad is {status}"):
        site.load(strict=True)


def test_strict_loads_what_is_well(site, monkeypatch):
    site.add("umedpt-task-good")
    monkeypatch.setenv("UMEDPT_PLUGINS", "umedpt-task-good")
    assert list(site.load(strict=True).tasks) == ["good"]


def test_unreadable_metadata_stops_nothing(site):
    """As an interrupted pip leaves it, or a stranger's distribution wrote it."""
    site.add("umedpt-task-half").joinpath("METADATA").unlink()
    site.add("stranger").joinpath("entry_points.txt").write_text("[umedpt]\nno equals sign\n")
    site.add("umedpt-task-good")
    catalogue = site.load()
    assert "METADATA cannot be read" in plugin_of(catalogue, "umedpt-task-half").reason
    assert "good" in catalogue.tasks


def test_two_distributions_may_share_an_entry_point_name(site):
    for slug in ("one", "two"):
        site.add(f"umedpt-task-{slug}", entry_point="same")
    catalogue = site.load()
    assert {"one", "two"} <= set(catalogue.tasks)
    assert [p.status for p in catalogue.plugins if p.entry_point == "same"] == ["ok", "ok"]


def test_one_module_is_not_registered_twice(site):
    info = site.add("umedpt-task-good")
    info.joinpath("entry_points.txt").write_text(
        "[umedpt]\na = umedpt_task_good\nb = umedpt_task_good\n"
    )
    catalogue = site.load()
    states = {p.entry_point: p.status for p in catalogue.plugins}
    assert (states["a"], states["b"]) == ("ok", "failed")
    assert "good" in catalogue.tasks


def test_a_name_registered_by_two_belongs_to_neither(site):
    for slug in ("one", "two"):
        site.add(f"umedpt-task-{slug}", HOOK + f"    yield task('{slug}')\n    yield task('both')")
    catalogue = site.load()
    assert "both" not in catalogue.tasks
    assert {"one", "two"} <= set(catalogue.tasks)
    for slug, other in [("one", "two"), ("two", "one")]:
        plugin = plugin_of(catalogue, f"umedpt-task-{slug}")
        assert plugin.status == "ok"
        assert plugin.clashes == [f"task 'both' is registered by umedpt-task-{other} too"]
    with pytest.raises(ConfigError, match=r"umedpt-task-one.*umedpt-task-two.*uninstall or block"):
        catalogue.find("task", "both")


def test_a_name_registered_twice_by_one_plugin(site):
    site.add("umedpt-task-one", HOOK + "    yield task('one')\n    yield task('one')")
    catalogue = site.load()
    assert "one" not in catalogue.tasks
    clashes = plugin_of(catalogue, "umedpt-task-one").clashes
    assert clashes == ["task 'one' is registered twice by this plugin"]


@pytest.mark.parametrize(
    ("other", "notes"),
    [
        (
            "1.0",
            ["version 1.0 of umedpt-task-good is installed too, later on the path, and unused"],
        ),
        ("2.0", []),  # the same version twice, as an editable installation leaves it
    ],
)
def test_of_two_versions_the_first_on_the_path_wins(make_site, other, notes):
    make_site("later").add("umedpt-task-good", "raise RuntimeError", version=other)
    first = make_site("first")
    first.add("umedpt-task-good", version="2.0")
    catalogue = first.load()
    plugin = plugin_of(catalogue, "umedpt-task-good")
    assert (plugin.version, plugin.status, plugin.clashes) == ("2.0", "ok", notes)
    assert catalogue.tasks["good"].version == "2.0"


def test_why_plugins_are_not_found_by_pluggy(site):
    """It drops the second of two entry points of one name, and an import error stops all."""
    for name in ("one", "two"):
        site.add(f"umedpt-task-{name}", entry_point="same", group="pluggys_own")
    assert pluggy.PluginManager("umedpt").load_setuptools_entrypoints("pluggys_own") == 1
    site.add("umedpt-task-bad", "raise RuntimeError('boom')", group="pluggys_own")
    with pytest.raises(RuntimeError, match="boom"):
        pluggy.PluginManager("umedpt").load_setuptools_entrypoints("pluggys_own")


def test_why_hooks_are_not_called_by_pluggy():
    """One that raises costs the results of all; as a generator it fails later and nameless."""

    class Good:
        @hookimpl
        def umedpt_tasks(self):
            yield "good"

    class Raising:
        @hookimpl
        def umedpt_tasks(self):
            raise RuntimeError("boom")

    class RaisingGenerator:
        @hookimpl
        def umedpt_tasks(self):
            yield "bad"
            raise RuntimeError("boom")

    def call(plugin):
        manager = pluggy.PluginManager("umedpt")
        manager.add_hookspecs(hookspecs)
        manager.register(Good(), "good")
        manager.register(plugin, "bad")
        return manager.hook.umedpt_tasks()

    with pytest.raises(RuntimeError, match="boom"):
        call(Raising())
    results = call(RaisingGenerator())
    with pytest.raises(RuntimeError, match="boom"):
        [list(result) for result in results]


DEADLY = "import os; os._exit(7)"


@pytest.mark.parametrize(
    ("arguments", "env", "good"),
    [
        (["--no-plugin", "umedpt-task-deadly"], {}, "ok"),
        (["--no-plugin", "Alias"], {}, "ok"),  # the name of its entry point
        ([], {"UMEDPT_PLUGINS": "umedpt_task_good"}, "ok"),
        ([], {"UMEDPT_PLUGINS": ""}, "blocked"),
        (["--no-plugin", "alias"], {"UMEDPT_PLUGINS": "alias, umedpt-task-good"}, "ok"),
    ],
)
def test_a_blocked_plugin_is_not_even_imported(site, arguments, env, good):
    site.add("umedpt-task-deadly", DEADLY, entry_point="alias")
    site.add("umedpt-task-good")
    result = site.run(*arguments, "plugins", "--json", env=env)
    assert result.returncode == 0, result.stderr
    states = {plugin["distribution"]: plugin["status"] for plugin in json.loads(result.stdout)}
    assert states["umedpt-task-deadly"] == "blocked"
    assert states["umedpt-task-good"] == good


def test_unblocked_it_would_have_been_deadly(site):
    site.add("umedpt-task-deadly", DEADLY)
    assert site.run("tasks").returncode == 7


def test_unknown_names_to_block_or_allow_are_refused(site, monkeypatch):
    site.add("umedpt-task-good")
    with pytest.raises(ConfigError, match=r"--no-plugin names 'nobody', which is no installed"):
        site.load(no_plugin=["nobody"])
    monkeypatch.setenv("UMEDPT_PLUGINS", "umedpt-task-god")
    with pytest.raises(ConfigError, match=r"UMEDPT_PLUGINS .* did you mean 'umedpt-task-good'"):
        site.load()


CHOICE = """
def source(commercial, access):
    return Source(homepage="-", licence="-", citation="-", commercial=commercial, access=access)

@hookimpl
def umedpt_tasks():
    yield task("a-boxes", label_type="detection", modality="X-ray", suites=("s", "t"),
               source=source("yes", "open"))
    yield task("a-mask", label_type="segmentation", modality="MRI", suites=("s",),
               source=source("no", "open"))
    yield task("b-mask", label_type="segmentation", modality="x-ray",
               source=source("yes", "registration"))
"""


@pytest.fixture
def choice(site, monkeypatch):
    site.add("umedpt-task-a", CHOICE)
    site.add("umedpt-task-c")
    monkeypatch.setenv("UMEDPT_PLUGINS", "umedpt-task-a,umedpt-task-c")
    return site.load()


@pytest.mark.parametrize(
    ("selectors", "exclude", "names"),
    [
        (["a-mask"], [], "a-mask"),
        (["*-mask"], [], "a-mask b-mask"),
        (["label:segmentation"], [], "a-mask b-mask"),
        (["modality:X-RAY"], [], "a-boxes b-mask"),
        (["suite:s"], [], "a-boxes a-mask"),
        (["access:registration"], [], "b-mask"),
        (["commercial:yes"], [], "a-boxes b-mask"),
        (["dist:umedpt-task-c"], [], "c"),
        (["c", "suite:t"], [], "a-boxes c"),
        (["suite:s+commercial:no"], [], "a-mask"),
        (["*-mask+modality:mri"], [], "a-mask"),
        (["*"], ["label:segmentation"], "a-boxes c"),
        (["*"], ["c", "suite:s+access:open"], "b-mask"),
        ([], [], ""),
    ],
)
def test_selectors(choice, selectors, exclude, names):
    assert choice.select(selectors, exclude) == names.split()


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("colour:red", "unknown key 'colour'; use one of label, modality, suite"),
        ("suite:nobody", "'suite:nobody' matches no task; see 'umedpt tasks'"),
        ("suite:t+commercial:no", "matches no task"),
        ("", "matches no task"),
        ("a-maks", "no task named 'a-maks'; did you mean 'a-mask'?"),
    ],
)
def test_a_selector_that_chooses_nothing_is_an_error(choice, selector, message):
    with pytest.raises(ConfigError) as error:
        choice.select(["c", selector])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("kind", "name", "advice"),
    [
        ("task", "kits", "try: pip install umedpt-task-kits"),
        ("task", "kits-tumour", "try: pip install umedpt-task-kits"),
        ("task", "k-mask", "try: pip install umedpt-task-k"),
        ("task", "a-masks", "did you mean 'a-mask'?"),
        ("task", "a", "see 'umedpt tasks' for what umedpt-task-a brings"),
        ("label type", "keypoints", "try: pip install umedpt-label-keypoints"),
        ("augmentation", "cell", "try: pip install umedpt-augment-cell"),
        ("norm", "group", "try: pip install umedpt-norm-group"),
        ("logger", "web", "try: pip install umedpt-log-web"),
    ],
)
def test_advice_for_a_missing_name(choice, kind, name, advice):
    with pytest.raises(ConfigError) as error:
        choice.find(kind, name)
    assert str(error.value) == f"no {kind} named '{name}'; {advice}"


def test_advice_for_a_blocked_plugin(site):
    names = ["umedpt-task-good", "umedpt-task-good-boxes"]
    for name in names:
        site.add(name)
    catalogue = site.load(no_plugin=names)
    for name, distribution in [("good-mask", names[0]), ("good-boxes-small", names[1])]:
        with pytest.raises(ConfigError, match=rf"; {distribution}, .* blocked \(by --no-plugin\)"):
            catalogue.find("task", name)


def test_every_kind_of_spec_is_registered_with_its_distribution(site):
    site.add(
        "acme-everything",
        """
@hookimpl
def umedpt_label_types():
    yield LabelTypeSpec(name="points", blocks=("pixels",), metrics=("error",), factory="m:f")

@hookimpl
def umedpt_augmentations():
    yield AugmentationSpec(name="points", image="m:f")

@hookimpl
def umedpt_norms():
    yield NormSpec(name="points", swap="m:f")

@hookimpl
def umedpt_loggers():
    yield LoggerSpec(name="points", open="m:f")
""",
    )
    catalogue = site.load()
    found = (catalogue.label_types, catalogue.augmentations, catalogue.norms, catalogue.loggers)
    assert [entries["points"].distribution for entries in found] == ["acme-everything"] * 4


def test_the_order_of_the_path_does_not_matter(make_site):
    sites = [make_site(name) for name in ("z", "a")]
    for site, slug in zip(sites, ("one", "two"), strict=True):
        site.add(f"umedpt-task-{slug}")
    catalogue = load_catalogue()
    names = [plugin.distribution for plugin in catalogue.plugins]
    assert names == sorted(names)
    assert list(catalogue.tasks) == sorted(catalogue.tasks)
