"""Line charts as inline SVG; colours come from the style sheet, so they follow light and dark mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparsecore.report.axes import Axis, axis_for
from sparsecore.report.markup import Node, node
from sparsecore.report.numbers import percent, short

__all__ = ["Chart", "Line", "legend"]

_WIDTH, _HEIGHT = 360, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 10, 10, 40
#: Lines with more points get no mark at each of them.
_MARKS = 25

Write = Callable[[float], str]


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes
    ----------
    label : str
        What it shows.
    points : sequence of (float, float)
        In order.
    style : int
        Which colour and which dashes.
    """

    label: str
    points: Sequence[tuple[float, float]]
    style: int = 0


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis; no value is negative.

    Attributes
    ----------
    title : str
        Written above.
    alt : str
        What it shows, for those who cannot see it.
    lines : sequence of Line
        Drawn in order; at least one has points.
    x_label, y_label : str
        Of the axes.
    fraction : bool
        Whether values up the chart are fractions, written as per cent.
    log_x, log_y : bool
        Whether axes are logarithmic.
    note : str
        Written below.
    keys : bool
        Whether the chart has a legend of its own.
    dots : bool
        Whether the points of short lines are marked.
    """

    title: str
    alt: str
    lines: Sequence[Line]
    x_label: str
    y_label: str
    fraction: bool = False
    log_x: bool = False
    log_y: bool = False
    note: str = ""
    keys: bool = False
    dots: bool = True

    def draw(self) -> Node:
        """Return the chart as a figure."""
        xs, ys = ([point[side] for line in self.lines for point in line.points] for side in (0, 1))
        across = axis_for(xs, _LEFT, _WIDTH - _RIGHT, log=self.log_x)
        bounds = None if self.log_y else (0.0, 1.0 if self.fraction else math.inf)
        up = axis_for(ys, _HEIGHT - _BOTTOM, _TOP, log=self.log_y, within=bounds)
        drawn = node(
            "svg",
            *_grid(across, up, self.fraction),
            *(part for line in self.lines for part in self._line(line, across, up)),
            node("text", self.x_label, x=(_LEFT + _WIDTH - _RIGHT) / 2, y=_HEIGHT - 4, class_="axis mid"),
            viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
            role="img",
            aria_label=self.alt,
        )
        return node(
            "figure",
            node("figcaption", node("b", self.title), f" {self.y_label}" if self.y_label else None),
            drawn,
            legend([(line.label, line.style) for line in self.lines]) if self.keys else None,
            node("p", self.note, class_="note") if self.note else None,
            class_="chart",
        )

    def _line(self, line: Line, across: Axis, up: Axis) -> list[Node]:
        def drawable(x: float, y: float) -> bool:
            return (x > 0 or not self.log_x) and (y > 0 or not self.log_y)

        shown = [point for point in line.points if drawable(*point)]
        places = [(across.at(x), up.at(y)) for x, y in shown]
        path = " ".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(places))
        parts = [node("path", d=path, class_=f"line s{line.style}")] if len(places) > 1 else []
        if self.dots and len(places) <= _MARKS:
            for (x, y), point in zip(places, shown, strict=True):
                what = f"{line.label}: {_written(point[1], self.fraction)} at {self.x_label} {short(point[0])}"
                parts.append(node("circle", node("title", what), cx=x, cy=y, r=2.6, class_=f"dot s{line.style}"))
        return parts


def legend(keys: Sequence[tuple[str, int]]) -> Node:
    """Return a legend of labels and line styles."""
    return node(
        "ul",
        *(
            node(
                "li",
                node(
                    "svg",
                    node("path", d="M1 5H27", class_=f"line s{style}"),
                    viewBox="0 0 28 10",
                    class_="key",
                    aria_hidden="true",
                ),
                label,
            )
            for label, style in keys
        ),
        class_="legend",
    )


def _grid(across: Axis, up: Axis, fraction: bool) -> list[Node]:
    parts = []
    ticks = up.ticks(5)
    digits = _digits(ticks) if fraction else 0
    for value in ticks:
        y = up.at(value)
        label = f"{100 * value:g}%" if fraction and up.log else percent(value, digits) if fraction else _tick(value)
        parts.append(node("path", d=f"M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}", class_="grid"))
        parts.append(node("text", label, x=_LEFT - 6, y=y + 3.5, class_="tick end"))
    for value in across.ticks(6):
        x = across.at(value)
        parts.append(node("path", d=f"M{x:.1f} {_HEIGHT - _BOTTOM}v4", class_="grid strong"))
        parts.append(node("text", _tick(value), x=x, y=_HEIGHT - _BOTTOM + 16, class_="tick mid"))
    parts.append(node("path", d=f"M{_LEFT} {_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}", class_="grid strong"))
    return parts


def _digits(ticks: Sequence[float]) -> int:
    """Return how many digits tell percentages of neighbouring ticks apart."""
    gap = 100 * (ticks[1] - ticks[0]) if len(ticks) > 1 else 1.0
    return next((digits for digits in (0, 1, 2, 3) if abs(round(gap, digits) - gap) < 1e-6), 4)


def _tick(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _written(value: float, fraction: bool) -> str:
    return percent(value) if fraction else short(value)
