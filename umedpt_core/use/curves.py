"""Curves as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 280, 120
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 8, 18
"""Room around the plotting area, for the numbers at the axes."""
POINTS = 100
"""A curve of more points is thinned out: each stands for the mean of some neighbours."""


@dataclass(frozen=True)
class Curve:
    """Values over steps; `style` is a CSS class of the page, ``train`` or ``held``."""

    name: str
    style: str
    points: Sequence[tuple[int, float]]

    def __str__(self) -> str:
        (begin, first), (end, last) = self.points[0], self.points[-1]
        return f"{self.name} {first:.3f} at {begin}, {last:.3f} at {end}"


@dataclass(frozen=True)
class Rule:
    """A horizontal line; `style` is a CSS class of the page, ``baseline`` or ``one``."""

    name: str
    style: str
    value: float

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3f}"


def figure(of: str, values: str, curves: Sequence[Curve], rules: Sequence[Rule], end: int) -> str:
    """A captioned figure with text for those who do not see it, and values at the pointer.

    Args:
        of: What it is about.
        values: What the curves show.
        curves: Those without points are left out.
        rules: Lines to compare with.
        end: The last step on the axis, which begins at 0; the other axis holds 0 to 1 or more.
    """
    curves = [curve for curve in curves if curve.points]
    heights = [y for curve in curves for _, y in curve.points] + [rule.value for rule in rules]
    low, high = min(0.0, *heights), max(1.0, *heights)

    def x(step: int) -> str:
        return f"{LEFT + (WIDTH - LEFT - RIGHT) * step / max(1, end):.1f}"

    def y(value: float) -> str:
        return f"{TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low):.1f}"

    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>']
    parts += [
        f'<text x="{LEFT - 4}" y="{y(value)}" dy="4" text-anchor="end">{value:.3g}</text>'
        for value in (low, high)
    ]
    parts += [
        f'<text x="{x(step)}" y="{HEIGHT - 4}" text-anchor="{anchor}">{step}</text>'
        for step, anchor in ((0, "start"), (end, "end"))
    ]
    for rule in rules:
        title = f"<title>{escape(str(rule))}</title>"
        line = f"M{LEFT} {y(rule.value)}H{WIDTH - RIGHT}"
        parts.append(f'<path class="{rule.style}" d="{line}">{title}</path>')
    for curve in curves:
        points = _thin(curve.points)
        line = "L".join(f"{x(step)} {y(value)}" for step, value in points)
        parts.append(f'<path class="{curve.style}" d="M{line}"/>')
        style = (
            f"{curve.style} hidden" if curve.style == "train" and len(points) > 1 else curve.style
        )
        for step, value in points:
            title = f"<title>{escape(f'{step}: {curve.name} {value:.3f}')}</title>"
            place = f'cx="{x(step)}" cy="{y(value)}" r="3"'
            parts.append(f'<circle class="{style}" {place}>{title}</circle>')
    last = [f"{curve.name} {curve.points[-1][1]:.3f}" for curve in curves]
    last += [str(rule) for rule in rules if rule.style == "baseline"]
    caption = f"{values}: {' · '.join(last)}"
    spoken = f"{of}, {values}: {'; '.join([*map(str, curves), *map(str, rules)])}"
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(spoken)}">\n'
        f"{''.join(parts)}\n</svg></figure>"
    )


def legend(keys: Sequence[tuple[str, str]]) -> str:
    """A line that says what the styles mean, each with its text."""
    spans = []
    for style, text in keys:
        dot = f'<circle class="{style}" cx="17" cy="5" r="3"/>' if style == "held" else ""
        line = f'<path class="{style}" d="M0 5H35"/>{dot}'
        key = f'<svg class="key" viewBox="0 0 35 10" aria-hidden="true">{line}</svg>'
        spans.append(f"<span>{key}{escape(text)}</span>")
    return f'<p class="legend">{" ".join(spans)}</p>'


def _thin(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    size = max(1, math.ceil(len(points) / POINTS))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]
