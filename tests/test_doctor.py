"""umedpt doctor: it says what is there, and nothing that is broken stops it."""

from __future__ import annotations

import json

import pytest

GENERATED = """
@hookimpl
def umedpt_tasks():
    yield task("made", source=Source(
        homepage="-", licence="-", citation="-", access="generated"))
"""


def facts(result):
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def sick(site, tmp_path):
    """Plugins in every state, and data for one of them."""
    site.add("umedpt-task-there")
    site.add("umedpt-task-gone")
    site.add("umedpt-task-made", GENERATED)
    site.add("umedpt-task-bad", "raise RuntimeError('boom ' + 30 * 'and-more-of-it ')")
    site.add("umedpt-task-exits", "import sys; sys.exit(3)")
    (tmp_path / "data" / "there").mkdir(parents=True)
    return site


def test_json(sick, tmp_path):
    found = facts(
        sick.run(
            *("--no-plugin", "umedpt-task-exits", "doctor", "--json"),
            env={"UMEDPT_DATA": str(tmp_path / "data"), "UMEDPT_CACHE": "/nowhere"},
        )
    )
    states = {row["distribution"]: row["status"] for row in found["plugins"]}
    assert states["umedpt-task-bad"] == "failed"
    assert states["umedpt-task-exits"] == "blocked"
    assert states["umedpt-task-there"] == "ok"
    places = {name: found["data"][name] for name in ("there", "gone", "made")}
    assert places == {"there": "there", "gone": "missing", "made": "generated"}
    assert found["environment"]["UMEDPT_CACHE"] == "/nowhere"
    assert found["torch"]["devices"][0] == "cpu"
    assert found["libraries"]["timm"][0].isdigit()


def test_text_fits_80_columns(sick, tmp_path):
    result = sick.run("doctor", "--data-root", str(tmp_path / "data"))
    assert result.returncode == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    text = " ".join(result.stdout.split())
    assert "umedpt-task-bad 1.0 failed: import of umedpt_task_bad raised RuntimeError" in text
    assert "gone missing" in text
    assert "there there" in text


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"UMEDPT_PLUGINS": "umedpt-task-nobody"}, "cannot be loaded: UMEDPT_PLUGINS names"),
        ({"UMEDPT_STRICT": "1"}, "umedpt-task-bad 1.0 failed"),
        ({"UMEDPT_DATA": "/no/such/folder"}, "data root: /no/such/folder (no such folder)"),
    ],
)
def test_it_ends_well_whatever_is_broken(sick, variables, words):
    result = sick.run("doctor", env=variables)
    assert result.returncode == 0, result.stderr
    assert words in " ".join(result.stdout.split())


def test_a_broken_torch_is_reported(sick):
    (sick.folder / "torch.py").write_text("raise OSError('libcudart.so: cannot open')")
    found = facts(sick.run("doctor", "--json"))
    assert found["torch"] == {"version": "broken: OSError: libcudart.so: cannot open"}
