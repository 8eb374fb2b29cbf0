"""Box plots over the fractions (paper: Figs. 3 and 4) and the bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .statistics import percent

if TYPE_CHECKING:
    from ..specs import Reference

MODES = {
    "frozen": "Frozen",
    "finetune": "Fine-tuned",
    "bitfit": "Fine-tuned biases (BitFit)",
    "lora": "Low-rank fine-tuning (LoRA)",
}
WIDTH, PANEL, DPI = 8.0, 2.9, 150
"""In inches; a figure is 1,200 pixels wide, and its text can be read at 500."""
INK, SOFT, FAINT = "#1b1b1b", "#6b6b6b", "#e4e4e4"
OPAQUE = 0.75
DASHED = (0, (5, 3))
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "text.color": INK,
    "text.parse_math": False,
}


def ordered_modes(modes: Sequence[str]) -> list[str]:
    """Ours first, then others' in their order, each once."""
    return [mode for mode in MODES if mode in modes] + [
        mode for mode in dict.fromkeys(modes) if mode not in MODES
    ]


def colours(models: Sequence[str]) -> dict[str, Any]:
    """A colour for each model that the colour-blind can tell from the others, up to ten models."""
    return dict(zip(models, sns.color_palette("colorblind", len(models)), strict=True))


def box_plots(
    results: pd.DataFrame, models: Sequence[str], references: Sequence[Reference]
) -> bytes:
    """The results of one task by one metric: a panel a mode, a box a model and fraction.

    A box shows median and quartiles, its whiskers the values within 1.5 interquartile ranges; a
    point is one draw, so that outliers stand alone.

    Args:
        results: The rows of one task and metric.
        models: All models, in their order.
        references: Published results by this metric, numbered in the legend.

    Returns:
        A PNG, 1,200 pixels wide.
    """
    modes = ordered_modes(list(results["mode"]))
    fractions = sorted(results["fraction"].unique())
    models = [model for model in models if model in set(results["model"])]
    palette = colours(models)
    metric, constant = results["metric"].iloc[0], results["baseline"].mean()
    with rc_context(STYLE):
        figure = Figure((WIDTH, PANEL * len(modes) + 0.9), DPI, layout="constrained")
        panels = figure.subplots(len(modes), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, mode in zip(panels, modes, strict=True):
            rows = results[results["mode"] == mode]
            _boxes(axes, rows, fractions, palette)
            for number, reference in enumerate(references, 1):
                axes.axhline(reference.value, color=SOFT, linewidth=0.8, zorder=1)
                place = (1 + 0.02 * number, reference.value)
                axes.annotate(
                    f"[{number}]", place, xycoords=("axes fraction", "data"), va="center",
                    ha="center", fontsize=8, color=SOFT, annotation_clip=False,
                )  # fmt: skip
            if not pd.isna(constant):
                axes.axhline(constant, color=INK, linewidth=1.2, linestyle=DASHED, zorder=1)
            axes.set_title(MODES.get(mode, mode), loc="left", fontsize=11)
            axes.set_ylabel(metric)
            axes.set_xlabel("")
        panels[-1].set_xticks(range(len(fractions)), _ticks(results, fractions))
        panels[-1].set_xlabel("Training data")
        keys = [Patch(fc=palette[m], ec=INK, alpha=OPAQUE, label=m) for m in models]
        columns = max(1, 105 // (max(map(len, models)) + 8))
        figure.legend(handles=keys, loc="outside upper left", ncols=columns, frameon=False)
        if lines := _lines(constant, references):
            figure.legend(handles=lines, loc="outside lower left", frameon=False, fontsize=9)
        return _png(figure)


def _boxes(
    axes: Axes, rows: pd.DataFrame, fractions: Sequence[float], palette: Mapping[str, Any]
) -> None:
    place = {"data": rows, "x": "fraction", "y": "value", "hue": "model", "ax": axes}
    place |= {"order": fractions, "hue_order": list(palette), "legend": False}
    sns.boxplot(
        **place, palette=palette, saturation=1, width=0.8, gap=0.15, whis=1.5, showfliers=False,
        linewidth=1, linecolor=INK, boxprops={"alpha": OPAQUE},
    )  # fmt: skip
    sns.stripplot(
        **place, palette=dict.fromkeys(palette, INK), dodge=True, jitter=False, size=3.4,
        linewidth=0.6, edgecolor="white",
    )  # fmt: skip
    for edge in range(1, len(fractions)):
        axes.axvline(edge - 0.5, color=FAINT, linewidth=0.8, zorder=0)
    axes.set_xlim(-0.5, len(fractions) - 0.5)
    axes.grid(visible=True, axis="y")


def _lines(constant: float, references: Sequence[Reference]) -> list[Line2D]:
    """The legend's keys of the horizontal lines."""
    lines = []
    if not pd.isna(constant):
        label = f"constant prediction: {constant:.3f}"
        lines.append(Line2D([], [], color=INK, linestyle=DASHED, label=label))
    for number, reference in enumerate(references, 1):
        label = f"[{number}] {reference.setting}: {reference.value:.3f} ({reference.source})"
        lines.append(Line2D([], [], color=SOFT, linewidth=0.8, label=label))
    return lines


def _ticks(results: pd.DataFrame, fractions: Sequence[float]) -> list[str]:
    """The fractions, with the number of training cases where it is the same for all."""
    counts = results.groupby("fraction")["n_train"].unique()
    labels = []
    for fraction in fractions:
        counted = len(counts[fraction]) == 1 and not pd.isna(counts[fraction][0])
        cases = f"\n{counts[fraction][0]:.0f} cases" if counted else ""
        labels.append(f"{percent(fraction)}{cases}")
    return labels


def interval_plot(results: pd.DataFrame, models: Sequence[str]) -> bytes | None:
    """The bootstrap intervals at the largest fraction of each mode, a line a draw.

    Args:
        results: The rows of one task and metric.
        models: All models, in their order.

    Returns:
        A PNG, 1,200 pixels wide; None where there are no intervals.
    """
    largest = results.groupby("mode")["fraction"].transform("max")
    rows = results[results["fraction"] == largest].dropna(subset=["low", "high"])
    if rows.empty:
        return None
    groups = dict(iter(rows.groupby(["mode", "model"])))
    keys = [
        (mode, model)
        for mode in ordered_modes(list(rows["mode"]))
        for model in models
        if (mode, model) in groups
    ]
    palette = colours(models)
    labels = []
    with rc_context(STYLE):
        figure = Figure((WIDTH, 0.3 * len(keys) + 0.7), DPI, layout="constrained")
        axes = figure.subplots()
        for place, (mode, model) in enumerate(keys):
            group = groups[mode, model].sort_values("draw")
            for at, row in zip(_spread(place, len(group)), group.itertuples(), strict=True):
                axes.plot([row.low, row.high], [at, at], color=palette[model], linewidth=1.6)
                axes.plot(row.value, at, "o", color=INK, markersize=2.6)
            labels.append(f"{model}, {mode}, {percent(group['fraction'].iloc[0])}")
        constant = rows["baseline"].mean()
        if not pd.isna(constant):
            axes.axvline(constant, color=INK, linewidth=1.2, linestyle=DASHED)
        axes.set_yticks(range(len(keys)), labels)
        axes.set_ylim(len(keys) - 0.4, -0.6)
        axes.set_xlabel(rows["metric"].iloc[0])
        return _png(figure)


def _spread(place: int, number: int) -> list[float]:
    """Positions of some lines around one place of the axis."""
    return [place + 0.6 * ((i + 0.5) / number - 0.5) for i in range(number)]


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
