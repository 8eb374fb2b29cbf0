"""umedpt benchmark report: right statistics, and a page that says plainly what they do not show."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from umedpt_core import ConfigError, Reference, load_catalogue
from umedpt_core.cli import Settings
from umedpt_core.cli import benchmark_report as command

pd = pytest.importorskip("pandas")
pytest.importorskip("seaborn")

from umedpt_core.benchmark.findings import cautions, find  # noqa: E402
from umedpt_core.benchmark.report import write_benchmark_report  # noqa: E402
from umedpt_core.benchmark.results import read_results  # noqa: E402
from umedpt_core.benchmark.statistics import (  # noqa: E402
    compare,
    data_needed,
    holm,
    paired,
    summarise,
)

FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
MODELS = {"imagenet": "timm:resnet18", "multi": "runs/mix", "other": "runs/o", "none": "random:r"}
GAIN = {"imagenet": 0.0, "multi": 0.12, "other": -0.02, "none": -0.24}
"""Over imagenet at 1 %; that of multi halves until 100 %, and none is below a constant at first."""


def synthetic(draws: int = 5, tasks: tuple[str, ...] = ("pneumonia", "lesions")) -> pd.DataFrame:
    """Four models, a classification and a segmentation, frozen and fine-tuned."""
    rng = np.random.default_rng(0)
    rows = []
    for task in tasks:
        label, metric = (
            ("classification", "f1") if task == "pneumonia" else ("segmentation", "dice")
        )
        for mode, fractions in (("frozen", FRACTIONS), ("finetune", FRACTIONS[:4])):
            for fraction in fractions:
                progress = math.log10(fraction) / 2 + 1
                level = 0.6 + 0.15 * progress + rng.normal(0, 0.02, draws)
                for model, source in MODELS.items():
                    gain = GAIN[model] * (1 - progress / 2 if model == "multi" else 1)
                    for draw in range(draws):
                        value = level[draw] + gain + rng.normal(0, 0.004)
                        cell = {"task": task, "label_type": label, "model": model, "mode": mode}
                        cell |= {"source": source, "fraction": fraction, "draw": draw}
                        cell |= {"n_train": round(1046 * fraction), "n_test": 624, "seconds": 9.0}
                        cell |= {"epochs": 100, "lr": 1e-5, "augmentation": None, "seed": draw}
                        scores = {"value": value, "low": value - 0.03, "high": value + 0.03}
                        rows.append(cell | scores | {"metric": metric, "baseline": 0.385})
                        rows.append(cell | {"metric": "loss", "value": 1 - value})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def catalogue():
    return load_catalogue()


@pytest.fixture(scope="module")
def table():
    return synthetic()


def rows_of(task="t", metric="f1", mode="frozen", baseline=math.nan, **models):
    """Results by hand: model to {fraction: values of the draws}."""
    return pd.DataFrame(
        [
            {"task": task, "metric": metric, "mode": mode, "model": model, "fraction": fraction}
            | {"draw": draw, "value": value, "baseline": baseline}
            for model, cells in models.items()
            for fraction, values in cells.items()
            for draw, value in enumerate(values)
            if value is not None
        ]
    )


def test_the_paired_test_against_the_closed_form():
    """With two degrees of freedom p = 1 - t / sqrt(t^2 + 2); the 97.5 % quantile is 4.30265."""
    base = np.array([5.0, 9.0, 2.0])
    found = paired(base + np.array([1, 2, 3]), base)
    t = 2 * math.sqrt(3)
    assert found["difference"] == pytest.approx(2)
    assert found["d_z"] == pytest.approx(2)
    assert found["p"] == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert found["high"] - 2 == pytest.approx(4.302653 / math.sqrt(3))
    assert 2 - found["low"] == pytest.approx(4.302653 / math.sqrt(3))


@pytest.mark.parametrize(
    ("model", "baseline", "difference", "remark"),
    [
        ([], [], math.nan, "no common draw"),
        ([0.5], [0.25], 0.25, "one common draw"),
        ([0.5, 0.7], [0.5, 0.7], 0.0, "all differences are the same"),
        ([0.4, 0.8, 1.0], [0.3, 0.7, 0.9], 0.1, "all differences are the same"),
    ],
)
def test_where_there_is_no_test_p_is_undefined_and_not_0(model, baseline, difference, remark):
    found = paired(np.array(model), np.array(baseline))
    assert found["difference"] == pytest.approx(difference, nan_ok=True)
    assert found["remark"] == remark
    assert all(math.isnan(found[key]) for key in ("low", "high", "d_z", "p"))


def test_holm_by_hand():
    corrected = holm([0.01, 0.04, math.nan, 0.03, 0.005])
    assert corrected == pytest.approx([0.03, 0.06, math.nan, 0.06, 0.02], nan_ok=True)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=30))
def test_holm_corrects_upwards_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    pairs = sorted((p, c) for p, c in zip(p_values, corrected, strict=True) if not math.isnan(p))
    assert all(p <= c <= 1 for p, c in pairs)
    assert [c for _, c in pairs] == sorted(c for _, c in pairs)
    assert np.isnan(corrected).tolist() == np.isnan(np.array(p_values)).tolist()
    if pairs:
        assert pairs[0][1] == min(1, len(pairs) * pairs[0][0])  # Bonferroni for the smallest


def test_only_draws_that_both_have_are_compared():
    results = rows_of(
        base={0.1: [0.5, 0.6, None, 0.7], 1.0: [0.8]},
        other={0.1: [0.55, None, 0.9, 0.76], 0.5: [0.1, 0.2]},
    )
    table = compare(results, "base").set_index("fraction")
    assert list(table["pairs"]) == [2, 0]
    assert list(table["unpaired"]) == [2, 2]
    assert table.loc[0.1, "model_mean"] == pytest.approx((0.55 + 0.76) / 2)
    assert table.loc[0.1, "baseline_mean"] == pytest.approx(0.6)
    assert table.loc[0.5, "verdict"] == "no test"


@pytest.mark.parametrize(("metric", "verdict"), [("f1", "better"), ("mae", "worse")])
def test_the_verdict_knows_which_way_is_better(metric, verdict):
    results = rows_of(
        metric=metric, base={1.0: [0.5, 0.6, 0.7]}, other={1.0: [0.8, 0.901, 1.0]}, baseline=0.6
    )
    (row,) = compare(results, "base").to_dict("records")
    assert row["verdict"] == verdict
    assert row["p"] < 0.001
    below = summarise(results).set_index("model")["below"]
    assert dict(below) == {"base": False, "other": metric == "mae"}
    draws_below = summarise(results).set_index("model")["draws_below"]
    assert dict(draws_below) == (
        {"base": 1, "other": 0} if metric == "f1" else {"base": 1, "other": 3}
    )


def test_the_summary_of_draws():
    (row,) = summarise(rows_of(a={0.1: [1.0, 2.0, 6.0]})).to_dict("records")
    assert (row["n"], row["mean"], row["min"], row["max"]) == (3, 3, 1, 6)
    assert row["sd"] == pytest.approx(math.sqrt(7))
    assert math.isnan(row["constant"])
    assert not row["below"]


def test_the_data_needed_by_hand():
    results = pd.concat(
        [
            rows_of(base={0.1: [0.5, 0.7], 1.0: [0.7, 0.9]}, other={0.1: [0.79], 0.5: [0.8, 0.82]}),
            rows_of(mode="finetune", base={1.0: [0.78]}, other={0.1: [0.78], 1.0: [0.1]}),
            rows_of(metric="auc", base={0.1: [0.9]}, other={0.1: [0.8], 1.0: [0.95]}),
        ]
    )
    references = [
        Reference(metric="auc", value=0.9, setting="x", source="y", needed={"frozen": 0.05}),
        Reference(metric="map", value=0.1, setting="not measured", source="y"),
    ]
    table = data_needed(summarise(results), "base", {"t": "f1"}, {"t": references})
    found = {
        (row.target, row.model, row.mode): None if math.isnan(row.fraction) else row.fraction
        for row in table.itertuples()
    }
    assert found == {
        ("best of base (frozen, 100 %)", "other", "frozen"): 0.5,
        ("best of base (frozen, 100 %)", "other", "finetune"): None,
        ("base, frozen, 100 %", "other", "frozen"): 0.5,
        ("base, frozen, 100 %", "other", "finetune"): None,
        ("base, finetune, 100 %", "other", "frozen"): 0.1,
        ("base, finetune, 100 %", "other", "finetune"): 0.1,
        ("x (y)", "base", "frozen"): 0.1,
        ("x (y)", "other", "frozen"): 1.0,
    }
    assert table.set_index("target").loc["x (y)", "published"].tolist() == [0.05, 0.05]


@pytest.fixture(scope="module")
def reported(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("benchmark")
    table.to_csv(folder / "results.csv", index=False)
    result = CliRunner().invoke(command.report, [str(folder)], obj=Settings())
    assert result.exception is None, result.output
    return folder / "report", result


def test_the_files_of_a_report(reported, table):
    folder, result = reported
    assert result.stdout.strip() == str(folder / "report.html")
    tables = {"summary.csv": 4 * 2 * 10 * 2, "comparisons.csv": 3 * 2 * 10}
    for name, rows in tables.items():
        assert len(pd.read_csv(folder / name)) == rows
    assert len(pd.read_csv(folder / "data-needed.csv"))
    images = sorted(path.name for path in folder.glob("*.png"))
    assert images == [
        *("lesions-dice-intervals.png", "lesions-dice.png"),
        *("pneumonia-f1-intervals.png", "pneumonia-f1.png"),
    ]
    page = (folder / "report.html").read_text()
    for name in images:
        with Image.open(folder / name) as image:
            assert image.width == 1200
    assert page.count("data:image/png;base64,") == len(images)
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_says_what_is_bad_and_what_limits_it(reported):
    page = (reported[0] / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    flagged = "none on pneumonia (frozen 1 %; finetune 1 %)"
    assert f"worse than a constant prediction: {flagged}" in page
    assert f"Careful: worse than a constant prediction: {flagged}" in reported[1].stderr
    section = page[page.index("<h2>Below the constant") :]
    section = section[: section.index("</section>")]
    assert section.count("<tr>") == 1 + 4
    assert "60 comparisons with imagenet, 60 of them with a test" in page
    worse = page[page.index("Worse than imagenet:") :]
    assert "none on lesions (frozen 1 %, 5 %, 10 %, 25 %, 50 %, 100 %" in worse
    assert "multi on" not in worse[: worse.index("</p>")]
    for phrase in ("Holm", "one test set", "differ in the seed only", "Nadeau and Bengio"):
        assert phrase in page
    assert "UMedPT, frozen, 5 %" in page  # the plugin's published result


def test_a_model_better_with_little_data_needs_less_of_it(table, catalogue):
    findings = find(table, "imagenet", {}, catalogue)
    needed = findings.needed.query("task == 'lesions' and target.str.startswith('best')")
    fractions = needed.set_index(["model", "mode"])["fraction"]
    assert fractions["multi", "frozen"] < 1
    assert math.isnan(fractions["none", "frozen"])


def test_a_second_report_replaces_the_first_and_nothing_else(tmp_path, catalogue):
    file, folder = tmp_path / "r.parquet", tmp_path / "out"
    synthetic(2, ("lesions",)).to_parquet(file)
    page = write_benchmark_report([file], folder, metrics={"lesions": "loss"}, catalogue=catalogue)
    assert "lesions: loss" in page.read_text()
    assert (folder / "lesions-loss.png").exists()
    write_benchmark_report([file], folder, catalogue=catalogue)
    assert not (folder / "lesions-loss.png").exists()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is no report of a benchmark"):
        write_benchmark_report([file], folder, catalogue=catalogue)
    with pytest.raises(ConfigError, match="is no report of a benchmark"):
        write_benchmark_report([file], tmp_path, catalogue=catalogue)
    assert (folder / "notes.txt").read_text() == "mine"


def test_the_results_of_anothers_method_may_be_bare_and_oddly_named(tmp_path, catalogue):
    evil = '<b>$x$&"'
    table = rows_of(task="../t", mode="knn", NA={0.1: [0.5, 0.6]}, **{evil: {0.1: [0.7, 0.9]}})
    table.drop(columns="baseline").to_csv(tmp_path / "results.csv", index=False)
    page = write_benchmark_report([tmp_path], catalogue=catalogue)
    text = page.read_text()
    assert "<b>" not in text
    assert "Compared with: NA" in text
    assert {path.name for path in page.parent.glob("*.png")} == {".._t-f1.png"}


def test_cautions(table, catalogue):
    one = table[(table["draw"] == 0) & (table["model"] == "multi")]
    found = " ".join(cautions(find(one, None, {}, catalogue)))
    assert "one draw only" in found
    assert "one model only" in found
    unlike = table.assign(epochs=np.where(table["model"] == "multi", 7, 100))
    assert "not the same for all models: epochs (lesions, finetune)" in cautions(
        find(unlike, None, {}, catalogue)
    )


def spoiled(table: pd.DataFrame, what: str) -> pd.DataFrame:
    if what == "empty":
        return table[:0]
    if what == "columns":
        return table.drop(columns=["draw", "value"])
    if what == "twice":
        return pd.concat([table, table.assign(value=0.1)])
    if what == "source":
        return table.assign(source=[f"run{draw}" for draw in table["draw"]])
    if what == "percent":
        return table.assign(fraction=table["fraction"] * 100)
    return table.assign(value="much")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("empty", "holds no results yet"),
        ("columns", r"lacks the column\(s\) draw, value"),
        ("twice", "task pneumonia, model imagenet, mode frozen.*two results"),
        ("source", "model 'imagenet' is run0 and run1"),
        ("percent", "write 5 % as 0.05"),
        ("word", "a number is expected"),
    ],
)
def test_wrong_tables(tmp_path, table, what, message):
    spoiled(table, what).to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(ConfigError, match=message):
        read_results([tmp_path])


def test_wrong_arguments(tmp_path, table, catalogue):
    with pytest.raises(ConfigError, match=r"no results.csv or results.parquet"):
        read_results([tmp_path])
    with pytest.raises(ConfigError, match=r"nothing.csv: cannot be read"):
        read_results([tmp_path / "nothing.csv"])
    with pytest.raises(ConfigError, match="there are imagenet, multi, other, none"):
        find(table, "imagnet", {}, catalogue)
    with pytest.raises(ConfigError, match=r"lesions=f1: was not measured; choose of dice, loss"):
        find(table, None, {"lesions": "f1"}, catalogue)
    with pytest.raises(ConfigError, match=r"task 'lesion'; there are pneumonia, lesions"):
        find(table, None, {"lesion": "dice"}, catalogue)


def test_without_the_extra_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    result = CliRunner().invoke(command.report, ["x"], obj=Settings())
    assert isinstance(result.exception, ConfigError)
    assert "pip install 'umedpt-core[benchmark]'" in str(result.exception)


def test_the_command_is_light_until_it_is_run():
    code = "import sys, umedpt_core.cli.benchmark_report; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy", "pandas", "scipy", "seaborn"} & set(output.stdout.split())
