"""A run as one HTML page: curves, scores, loading, skipped cases, the mix, the environment."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import datetime
from html import escape
from pathlib import Path
from statistics import fmean, median
from typing import Any

from ..engine.events import FILE
from ..errors import ConfigError
from .curves import Curve, Rule, figure, legend
from .page import note, page, scroll, table
from .record import KNOWN, Record, is_number, mapping

PICTURES = "predictions.png"
SKIPS = 200
"""Rows of the table of skipped cases."""
LEGEND = (
    ("train", "training"),
    ("held", "held-out"),
    ("baseline", "baseline: a constant prediction"),
    ("one", "loss 1: about that of chance"),
)


def write_report(run: Path | str, output: Path | str | None = None) -> Path:
    """Write what a run recorded as one HTML page, which needs no other file and no network.

    Args:
        run: The folder of a run of ``pretrain`` or ``adapt``, finished or not.
        output: The page; default: ``report.html`` in that folder.

    Returns:
        The page's path.

    Raises:
        ConfigError: That is no run, it has recorded nothing, or a file cannot be read or written.
    """
    record = Record.read(Path(run))
    path = Path(output) if output else record.folder / "report.html"
    sections = {
        "Curves": _curves(record),
        "Scores": _scores(record),
        "Loading": _loading(record),
        "Skipped": _skipped(record),
        "Predictions": _pictures(record),
        "Mix" if record.mix else "Settings": _settings(record),
        "Data": _sources(record),
        "Environment": _environment(record),
    }
    text = page(record.folder.resolve().name, _header(record), sections)
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")  # odd file names
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; choose -o") from error
    return path


def _header(record: Record) -> list[str]:
    of = f" of {record.total}" if record.total else ""
    state = "finished" if (record.folder / "model").is_dir() else "not finished"
    when = datetime.fromtimestamp((record.folder / FILE).stat().st_mtime).astimezone()
    if record.mix:
        unit, what = "steps", f"pretraining, {len(record.tasks)} tasks"
    else:
        unit, what = "epochs", f"adapting {record.result.get('model', 'a model')}"
    return [f"{record.step}{of} {unit}, {state}", f"{what}; last event {when:%Y-%m-%d %H:%M %Z}"]


def _curves(record: Record) -> str:
    cards = []
    for task in record.tasks:
        train, held = record.of("train", task), record.of("eval", task)
        losses = [
            Curve("training", "train", _points(train, "loss")),
            Curve("held-out", "held", _points(held, "loss")),
        ]
        chance = Rule("chance", "one", 1.0)
        figures = _figure(record, task, "loss", losses, [chance, *_baseline(held, "loss")])
        if name := record.headline(task):
            metric = Curve("held-out", "held", _points(held, name))
            figures += _figure(record, task, name, [metric], _baseline(held, name))
        figures = figures or note("Nothing recorded yet.")
        cards.append(f'<div class="card"><h3>{escape(task)}</h3>{figures}</div>\n')
    unit = "optimizer steps" if record.mix else "epochs"
    axes = note(f"Over {unit}. The pointer on a curve shows its values.")
    return f'{legend(LEGEND)}{axes}<div class="grid">\n{"".join(cards)}</div>'


def _figure(record: Record, task: str, values: str, curves: list[Curve], rules: list[Rule]) -> str:
    seen = any(curve.points for curve in curves)
    return figure(task, values, curves, rules, record.step) if seen else ""


def _points(rows: Iterable[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row[key])) for row in rows if is_number(row.get(key))]


def _baseline(rows: Iterable[dict[str, Any]], name: str) -> list[Rule]:
    return [Rule("baseline", "baseline", y) for _, y in _points(rows, f"{name}_baseline")[-1:]]


def _scores(record: Record) -> str:
    rows = []
    for task in record.tasks:
        train, last = record.of("train", task)[-1:], (record.of("eval", task) or [{}])[-1]
        head = record.headline(task)
        others = [
            _with_baseline(last, name)
            for name, value in last.items()
            if name not in (*KNOWN, head) and not name.endswith("_baseline") and is_number(value)
        ]
        row = [task, last.get("split"), last.get("n"), train[0].get("loss") if train else None]
        row += [last.get("loss"), head, last.get(head), last.get(f"{head}_baseline")]
        rows.append([*row, ", ".join(others)])
    about = note("The last evaluation; baselines are what a constant prediction reaches.")
    columns = ("task", "split", "instances", "training loss", "held-out loss", "metric", "value")
    return about + table("Scores", (*columns, "baseline", "other metrics (baselines)"), rows)


def _with_baseline(row: dict[str, Any], name: str) -> str:
    baseline = row.get(f"{name}_baseline")
    return f"{name} {row[name]:.3f}" + (f" ({baseline:.3f})" if is_number(baseline) else "")


def _loading(record: Record) -> str:
    rows: list[tuple[str, int, int, int | None]] = []
    for task in record.tasks:
        train = record.of("train", task)
        loading, waited = ([1000 * y for _, y in _points(train, k)] for k in ("seconds", "waited"))
        if loading:
            mean = round(fmean(waited)) if waited else None
            rows.append((task, round(median(loading)), round(max(loading)), mean))
    rows.sort(key=lambda row: -row[1])
    found = table("Loading", ("task", "median, ms", "slowest, ms", "waited, ms"), rows)
    about = note("Time to load a batch, and the mean time that training waited for one.")
    return found and about + found


def _skipped(record: Record) -> str:
    skips, end = record.of("skip"), (record.of("end") or [{}])[-1]
    counts = []
    for key, what in (("skipped", "cases skipped"), ("dropped", "annotations dropped")):
        if numbers := [f"{task} {number}" for task, number in mapping(end.get(key)).items()]:
            counts.append(f"{what}: {', '.join(numbers)}")
    rows = [[skip.get(key) for key in ("task", "split", "case", "reason")] for skip in skips]
    found = table("Skipped", ("task", "split", "case", "reason"), rows[:SKIPS])
    more = note(f"And {len(rows) - SKIPS} more in {FILE}.") if len(rows) > SKIPS else ""
    return note("; ".join(counts) or ("" if rows else "Nothing was skipped.")) + found + more


def _pictures(record: Record) -> str:
    path = record.folder / PICTURES
    if not path.is_file():
        return ""
    about = "Held-out cases: a row of targets above a row of predictions for each task"
    alt = escape(f"{about}: {', '.join(record.tasks)}")
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img alt="{alt}" src="data:image/png;base64,{data}"/>'
    return f"{note(f'{about}.')}<div {scroll(PICTURES)}>{image}</div>"


def _settings(record: Record) -> str:
    if record.mix:
        return f"<pre>{escape((record.folder / 'mix.yaml').read_text())}</pre>"
    rows = [(key, str(value)) for key, value in record.result.items() if key != "metrics"]
    return table("Settings", ("setting", "value"), rows)


def _sources(record: Record) -> str:
    keys = ("licence", "commercial", "citation", "homepage")
    sources = mapping(record.environment.get("sources")).items()
    rows = [[task, *(mapping(source).get(key) for key in keys)] for task, source in sources]
    return table("Data", ("task", "licence", "commercial use", "citation", "homepage"), rows)


def _environment(record: Record) -> str:
    facts = record.environment
    rows = [(key, str(facts[key])) for key in ("python", "platform", "threads") if key in facts]
    versions = mapping(facts.get("libraries")) | mapping(facts.get("plugins"))
    return table("Environment", ("software", "version"), [*rows, *versions.items()])
