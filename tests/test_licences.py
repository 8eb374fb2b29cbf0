"""Licences as data: a mix states them, a run and its model carry them."""

from __future__ import annotations

import json

import pytest

TASKS = """
@hookimpl
def umedpt_tasks():
    for commercial in ("yes", "no", "unknown"):
        yield task(f"terms-{commercial}", source=Source(
            homepage="-", licence=f"L-{commercial}", commercial=commercial, citation="Doe 2020",
            access="generated",
        ), cases="umedpt_task_terms:open_cases")

def open_cases(root, split, options):
    from torchvision.datasets import FakeData
    from umedpt_core import cases_from_torchvision
    return cases_from_torchvision(FakeData(8, (3, 32, 32), 2), split)
"""


@pytest.fixture
def mix(site):
    """Write a mix of some of the tasks and give back its path."""
    site.add("umedpt-task-terms", TASKS)

    def write(*tasks):
        path = site.folder / "mix.yaml"
        names = ", ".join(f"{{task: terms-{name}}}" for name in tasks)
        path.write_text(
            "encoder: {name: mobilenetv3_small_050}\nepochs: 1\nsteps_per_epoch: 1\n"
            f"image_size: 32\ntasks: [{names}]\n"
        )
        return str(path)

    return write


@pytest.mark.parametrize(
    ("tasks", "lines"),
    [
        (["yes"], ["commercial use: yes, by the licences of all tasks"]),
        (
            ["yes", "unknown"],
            ["commercial use: unknown, because of", "  unknown: terms-unknown (L-unknown)"],
        ),
        (
            ["unknown", "yes", "no"],
            [
                "commercial use: no, because of",
                "  no: terms-no (L-no)",
                "  unknown: terms-unknown (L-unknown)",
            ],
        ),
    ],
)
def test_mix_check_states_the_tightest(site, mix, tasks, lines):
    result = site.invoke("mix", "check", mix(*tasks))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[len(tasks) :] == lines


def test_a_run_and_its_model_carry_the_sources(site, mix, tmp_path):
    run = tmp_path / "run"
    done = site.invoke(
        *("pretrain", mix("yes", "no"), "--output", str(run), "--workers", "0", "--device", "cpu")
    )
    assert done.exit_code == 0, done.output
    environment = json.loads((run / "environment.json").read_text())
    assert environment["sources"]["terms-no"] == {
        "homepage": "-",
        "licence": "L-no",
        "commercial": "no",
        "citation": "Doe 2020",
    }
    tasks = json.loads((run / "model" / "config.json").read_text())["tasks"]
    for name, facts in environment["sources"].items():
        assert facts.items() <= tasks[name]["source"].items()
    assert list(environment["sources"]) == ["terms-no", "terms-yes"]
