"""The page of a benchmark's report."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import pandas as pd

from ..use.page import note, page, scroll, table
from .figures import ordered_modes
from .findings import Findings, cautions, fractions_of, places, setting_names
from .statistics import LEVEL, percent, sign

PUBLISHED = (
    "They are from other runs. The images, their number and size, the training and the averaging "
    "of the metric can differ from those here, so a line in a figure is there for orientation only."
)
NEEDED = (
    "The smallest fraction at which the mean over the draws reaches the target, whatever larger "
    "fractions do; '-' where no fraction here does. No test is behind it."
)
LIMITS = (
    "Each row is a paired t-test over the draws that both models have. p is exact and two-sided, "
    "the interval is that of one comparison alone, d_z is the mean of the differences over their "
    "standard deviation. The verdict is that of p after Holm's correction for all rows with a "
    "test, at 5 %.",
    "What limits it: the draws are taken from one pool of training cases and scored on one test "
    "set. So a small p says that the difference would hold for other draws from this pool on these "
    "images; it does not speak of other patients or hospitals. The larger the fraction, the more "
    "cases the draws share: at 100 % they differ in the seed only, and a tiny difference is "
    "significant there. As samples of all the training sets that there could be, the differences "
    "are not independent, and the test is too confident. The corrected test of Nadeau and Bengio "
    "(2003) is made for random splits with a new test set each; with one fixed test set it does "
    "not apply and is not given.",
    "With few pairs only large and steady differences are found: 'not shown' does not mean equal. "
    "d_z of few pairs is unsteady, and on average too large.",
)
CHART = (
    "A box shows the median and the quartiles, its whiskers reach to the last draw within 1.5 "
    "interquartile ranges, and each point is a draw."
)
INTERVALS = (
    "95 % bootstrap intervals over the test images, a line a draw, at the largest fraction of "
    "each mode: what the size of the test set leaves open."
)
SEEDS = (
    "At 100 % the draws differ in the seed only: a verdict there is about this one training set."
)
BELOW = (
    "A constant prediction scores better than these. Such a model is of no use as it is, whatever "
    "its place among the others."
)


def file_name(*parts: str) -> str:
    """The name of a figure's file."""
    return re.sub(r"[^\w.-]+", "_", "-".join(parts)) + ".png"


def benchmark_page(findings: Findings, figures: Mapping[str, bytes]) -> str:
    """The whole page.

    Args:
        findings: What it tells.
        figures: PNGs by the names that :func:`file_name` gives.
    """
    sources = findings.results.groupby("model")["source"].first()
    models = ", ".join(
        f"{model} ({sources[model]})" if isinstance(sources.get(model), str) else model
        for model in findings.models
    )
    header = [f"Models: {models}", f"Compared with: {findings.baseline}"]
    sections = {"In short": _short(findings)}
    for task, metric in findings.metrics.items():
        sections[f"{task}: {metric}"] = _task(findings, task, metric, figures)
    sections |= {
        "Below the constant prediction": _below(findings),
        f"Compared with {findings.baseline}": _comparisons(findings),
        "Data needed to match": _needed(findings),
        "Published results": _published(findings),
        "Settings": _settings(findings),
    }
    return page("Benchmark", header, sections).replace(" %", "\N{NO-BREAK SPACE}%")


def _paragraphs(lines: Iterable[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _short(findings: Findings) -> str:
    comparisons, baseline = findings.comparisons, findings.baseline
    tested = int(comparisons["p"].notna().sum())
    lines = [f"Careful: {caution}." for caution in cautions(findings)]
    if len(comparisons):
        lines.append(
            f"{len(comparisons)} comparisons with {baseline}, {tested} of them with a test; p is "
            f"corrected for all {tested} together (Holm)."
        )
        worse = comparisons[comparisons["verdict"] == "worse"]
        where = places(worse) if len(worse) else "nowhere that the test can show"
        lines.append(f"Worse than {baseline}: {where}.")
        if (comparisons[comparisons["fraction"] == 1]["p_holm"] < LEVEL).any():
            lines.append(SEEDS)
    rows = []
    for (task, model), group in comparisons.groupby(["task", "model"], sort=False):
        direction = sign(findings.metrics[task])
        behind = group[direction * group["difference"] < 0]
        by = {verdict: group[group["verdict"] == verdict] for verdict in VERDICTS}
        cells = [fractions_of(part) or "-" for part in by.values()]
        rows.append([task, model, *cells, f"{len(behind)} of {len(group)}"])
    head = ("task", "model", *VERDICTS, "mean worse")
    return _paragraphs(lines) + table("In short", head, rows)


VERDICTS = ("better", "worse", "not shown", "no test")


def _task(findings: Findings, task: str, metric: str, figures: Mapping[str, bytes]) -> str:
    rows = findings.headlines
    rows = rows[rows["task"] == task]
    most = rows["n"].max()
    fractions = sorted(rows["fraction"].unique())
    cells = {(row.model, row.mode, row.fraction): _cell(row, most) for row in rows.itertuples()}
    lines = [
        [f"{model}, {mode}", *(cells.get((model, mode, fraction), "-") for fraction in fractions)]
        for mode in ordered_modes(list(rows["mode"]))
        for model in findings.models
        if any((model, mode, fraction) in cells for fraction in fractions)
    ]
    marked = " * is worse than the constant prediction." if rows["below"].any() else ""
    about = f"Mean ± standard deviation over {most} draws, or as many as stated.{marked}"
    return (
        note(CHART)
        + _image(figures, file_name(task, metric), f"Box plots of {metric} by fraction, {task}")
        + note(about)
        + table(f"{task}: {metric}", ("model", *map(percent, fractions)), lines)
        + _intervals(figures, task, metric)
    )


def _cell(row: Any, most: int) -> str:
    spread = "" if pd.isna(row.sd) else f" ± {row.sd:.3f}"
    fewer = "" if row.n == most else f" ({row.n})"
    return _whole(f"{row.mean:.3f}{spread}{fewer}{' *' if row.below else ''}")


def _intervals(figures: Mapping[str, bytes], task: str, metric: str) -> str:
    name = file_name(task, metric, "intervals")
    if name not in figures:
        return ""
    return note(INTERVALS) + _image(figures, name, f"Bootstrap intervals of {metric}, {task}")


def _image(figures: Mapping[str, bytes], name: str, alt: str) -> str:
    data = base64.b64encode(figures[name]).decode()
    image = f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}"/>'
    return f"<div {scroll(alt)}>{image}</div>"


def _below(findings: Findings) -> str:
    rows = [
        [
            row.task,
            row.model,
            row.mode,
            percent(row.fraction),
            row.metric,
            row.mean,
            row.constant,
            f"{row.draws_below} of {row.n}",
        ]
        for row in findings.below.itertuples()
    ]
    head = ("task", "model", "mode", "fraction", "metric", "mean", "constant", "draws below")
    return note(BELOW if rows else "No mean is below it.") + table("Below", head, rows)


def _comparisons(findings: Findings) -> str:
    head = ["mode, fraction", "model", "verdict", "difference", "95 % interval", "p", "p, Holm"]
    head += ["d_z", "pairs", findings.baseline, "mean"]
    content = ""
    for task, group in findings.comparisons.groupby("task", sort=False):
        rows = [_comparison(row) for row in group.itertuples()]
        label = f"{task}: {findings.metrics[task]}"
        content += f"<h3>{escape(label)}</h3>{table(label, head, rows)}"
    return content and "".join(map(note, LIMITS)) + content


def _comparison(row: Any) -> list[Any]:
    verdict = f"{row.verdict}: {row.remark}" if row.remark else row.verdict
    place = [f"{row.mode}, {percent(row.fraction)}", row.model, _whole(verdict)]
    test = [_whole(f"{row.low:+.3f} to {row.high:+.3f}")]
    test += [f"{row.p:.2g}", f"{row.p_holm:.2g}", f"{row.d_z:.2f}"]
    if row.verdict == "no test":
        test = [""] * len(test)
    pairs = f"{row.pairs}" + (_whole(f" ({row.unpaired} unpaired)") if row.unpaired else "")
    difference = f"{row.difference:+.3f}" if row.pairs else ""
    means = [row.baseline_mean, row.model_mean] if row.pairs else ["", ""]
    return [*place, difference, *test, pairs, *means]


def _whole(text: str) -> str:
    """A text that stays on one line."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _needed(findings: Findings) -> str:
    needed = findings.needed
    models = [model for model in findings.models if model in set(needed["model"])]
    modes = ordered_modes(list(needed["mode"]))
    rows = []
    for key, group in needed.groupby(["task", "target", "metric", "value"], sort=False):
        found = group.set_index(["model", "mode"])["fraction"].map(_reached)
        cells = [
            " / ".join(found.get((model, mode), "not run") for mode in modes)
            if model in found
            else ""
            for model in models
        ]
        published = group.dropna(subset="published").drop_duplicates("mode")
        there = [f"{row.mode} {percent(row.published)}" for row in published.itertuples()]
        rows.append([*key, *cells, ", ".join(there)])
    head = ("task", "target", "metric", "value", *models, "published")
    about = note(NEEDED) + note(f"In each column: {' / '.join(modes)}.")
    return about + table("Data needed", head, rows) if rows else ""


def _reached(fraction: float) -> str:
    return "-" if pd.isna(fraction) else percent(fraction)


def _published(findings: Findings) -> str:
    rows = [
        [task, reference.metric, reference.value, reference.setting, reference.source]
        for task, references in findings.references.items()
        for reference in references
    ]
    found = table("Published results", ("task", "metric", "value", "of", "source"), rows)
    return found and note(PUBLISHED) + found


def _settings(findings: Findings) -> str:
    results = findings.results
    modes = ordered_modes(list(results["mode"]))
    rows = []
    for name in setting_names(results):
        by_mode = (results.loc[results["mode"] == mode, name].unique() for mode in modes)
        rows.append([name, *(", ".join(map(_setting, values)) for values in by_mode)])
    sizes = []
    for task in findings.metrics:
        own = findings.of(task)
        by_fraction = own.groupby("fraction")["n_train"].unique()
        counts = [f"{percent(f)}: {_range(n)}" for f, n in by_fraction.items()]
        sizes.append([task, own["label_type"].iloc[0], ", ".join(counts), _range(own["n_test"])])
    head = ("task", "label type", "training cases", "test instances")
    return table("Settings", ("setting", *modes), rows) + table("Cases", head, sizes)


def _setting(value: Any) -> str:
    if pd.isna(value):
        return "not set"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _range(numbers: Iterable[float]) -> str:
    """One number, or the least and the most."""
    found = sorted({int(number) for number in numbers if not pd.isna(number)})
    return " to ".join(map(str, dict.fromkeys([found[0], found[-1]]))) if found else "unknown"
