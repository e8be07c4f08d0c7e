"""Draws curves and histograms as SVG, whose colours are those of the page.

A drawing is 360 units wide, so that its letters can be read on a telephone. A
line has a dash pattern beside its colour. Beneath the pointer a browser shows
the numbers of an epoch or of a bar.
"""

from collections.abc import Sequence
from html import escape
import itertools
import math
from typing import NamedTuple

import numpy as np

COLOURS = 6  # colours of lines that `style.CSS` has
_WIDE, _HIGH = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 8, 24
_DOTTED = 30  # points of a line up to which each is a dot
_POINTS = 400  # of a line; of more, some are left out
_BINS = 24
_PANEL = 78  # height of a histogram


class Line(NamedTuple):
  """A line of a plot."""

  name: str
  points: list[tuple[float, float]]  # x in order, all finite


class Scale(NamedTuple):
  """Brings values from `low` to `high` to units from `start` to `end`."""

  low: float
  high: float
  start: float
  end: float

  def __call__(self, value: float) -> float:
    """Returns the place of a value."""
    part = (value - self.low) / (self.high - self.low)
    return self.start + part * (self.end - self.start)


def short(value: float) -> str:
  """Returns a number with four digits that matter."""
  if isinstance(value, int):
    return f"{value:,}"
  if 1000 <= abs(value) < 1e6:
    return f"{value:,.0f}"
  return f"{value:.4g}"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
  """Returns round numbers from `low` to `high`, at most `most` + 1 of them."""
  exact = (high - low) / most
  size = 10.0 ** math.floor(math.log10(exact))
  step = next(f * size for f in (1, 2, 5, 10) if f * size >= exact * 0.999)
  first = math.ceil(low / step - 1e-9)
  last = math.floor(high / step + 1e-9)
  return [n * step for n in range(first, last + 1)]


def curves(label: str, lines: Sequence[Line], x: str = "epoch") -> str:
  """Returns an SVG of lines over a common axis.

  Args:
    label: What the drawing shows, in words, for who cannot see it.
    lines: The lines, the first in the first colour; one has a point at least.
    x: The name of the axis.
  """
  places = [at for line in lines for at, _ in line.points]
  values = [value for line in lines for _, value in line.points]
  across = Scale(*_range(places, 0.0), _LEFT, _WIDE - _RIGHT)
  up = Scale(*_range(values, 0.06), _HIGH - _BOTTOM, _TOP)
  whole = [at for at in ticks(across.low, across.high) if at == round(at)]
  shapes = [*_rules(up), *_marks(across, whole, x, _HIGH)]
  for n, line in enumerate(lines):
    shapes += _drawn(n, line, across, up)
  shapes += _pointed(lines, across, x)
  return _svg(label, _HIGH, shapes)


def histograms(
    label: str, groups: dict[str, np.ndarray], mark: tuple[str, float] | None
) -> tuple[str, int]:
  """Returns an SVG of a histogram for each group, one above the other.

  Args:
    label: What the drawing shows, in words, for who cannot see it.
    groups: f[n] by name, all finite; one has a value at least.
    mark: The name and the value of a line through all of them.

  Returns:
    The SVG, and how many values lie so far outside that they are counted in
    the outermost bars.
  """
  values = np.concatenate([*groups.values()])
  low, high = _fences(values)
  outside = int(((values < low) | (values > high)).sum())
  edges = np.linspace(*_range([low, high], 0.0), _BINS + 1)
  across = Scale(edges[0], edges[-1], _LEFT, _WIDE - _RIGHT)
  counts = {
      name: np.histogram(np.clip(of, edges[0], edges[-1]), edges)[0]
      for name, of in groups.items()
  }
  most = max(found.max() for found in counts.values())
  shapes, top = [], _TOP + (12 if mark else 0)
  for n, (name, found) in enumerate(counts.items()):
    up = Scale(0, most, top + _PANEL, top + 14)
    shapes += _bars(n, name, found, edges, across, up)
    if len(groups[name]):
      mean = float(np.clip(groups[name].mean(), low, high))
      shapes.append(_upright(across(mean), top + 14, top + _PANEL, f"c{n}"))
    top += _PANEL + 12
  foot = top - 12
  if mark:
    at = across(float(np.clip(mark[1], low, high)))
    shapes.append(_upright(at, _TOP + 6, foot, "mark"))
    shapes.append(_text(at, _TOP + 2, mark[0], _anchor(at)))
  shapes += _marks(across, ticks(across.low, across.high), "", foot + _BOTTOM)
  return _svg(label, foot + _BOTTOM, shapes), outside


def swatch(n: int) -> str:
  """Returns a piece of the n-th line of a plot, for a legend."""
  return (
      '<svg class="swatch" viewBox="0 0 28 10" aria-hidden="true">'
      f'<path class="line c{n % COLOURS} d{n // COLOURS}" d="M1 5H27"/></svg>'
  )


def _range(values: Sequence[float], beyond: float) -> tuple[float, float]:
  """Returns the least and the greatest value, and a share of both beyond."""
  low, high = float(min(values)), float(max(values))
  if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
    room = 0.5 * max(abs(low), 1.0)
    return low - room, high + room
  room = beyond * (high - low)
  return low - room, high + room


def _fences(values: np.ndarray) -> tuple[float, float]:
  """Returns the values beyond which one is far outside (Tukey, 1977)."""
  first, third = np.percentile(values, [25, 75])
  room = 3 * (third - first)
  inside = values[(values >= first - room) & (values <= third + room)]
  return float(inside.min()), float(inside.max())


def _svg(label: str, height: float, shapes: Sequence[str]) -> str:
  return (
      f'<svg class="plot" viewBox="0 0 {_WIDE} {height:g}" role="img"'
      f' aria-label="{escape(label)}">\n' + "\n".join(shapes) + "\n</svg>"
  )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
  return (
      f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
      f"{escape(text)}</text>"
  )


def _anchor(x: float) -> str:
  """Returns the end of a text at a place, so that it stays in the drawing."""
  if x > _WIDE - 60:
    return "end"
  return "start" if x < _LEFT + 30 else "middle"


def _upright(x: float, top: float, foot: float, kind: str) -> str:
  return f'<path class="line {kind}" d="M{x:.1f} {top:.1f}V{foot:.1f}"/>'


def _rules(up: Scale) -> list[str]:
  """Draws a rule and a number at each tick of the upright axis."""
  shapes = []
  for value in ticks(up.low, up.high):
    y = up(value)
    shapes.append(
        f'<path class="rule" d="M{_LEFT} {y:.1f}H{_WIDE - _RIGHT}"/>'
    )
    shapes.append(_text(_LEFT - 6, y + 4, f"{value:.6g}", "end"))
  return shapes


def _marks(
    across: Scale, values: Sequence[float], name: str, foot: float
) -> list[str]:
  """Writes numbers along the foot; the name of the axis stands at its end."""
  shapes = [
      f'<path class="axis" d="M{_LEFT} {foot - _BOTTOM:g}H{_WIDE - _RIGHT}"/>'
  ]
  end = _WIDE - _RIGHT
  room = 8 * len(name) + 14
  for value in values:
    at = across(value)
    if not name or at < end - room:
      shapes.append(_text(at, foot - 8, f"{value:.6g}", _foot(at)))
  if name:
    shapes.append(_text(end, foot - 8, name, "end"))
  return shapes


def _foot(x: float) -> str:
  return "end" if x > _WIDE - 24 else "middle"


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
  """Returns some of the points of a long line, the last among them."""
  step = max(1, math.ceil(len(points) / _POINTS))
  return points[::-1][::step][::-1]


def _drawn(n: int, line: Line, across: Scale, up: Scale) -> list[str]:
  """Draws a line, and its points where they are few."""
  colour = f"c{n % COLOURS}"
  places = [(across(x), up(y)) for x, y in _thinned(line.points)]
  if not places:
    return []
  path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
  shapes = [f'<path class="line {colour} d{n // COLOURS}" d="M{path}"/>']
  if len(places) <= _DOTTED:
    shapes += [
        f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="2"/>'
        for x, y in places
    ]
  return shapes


def _pointed(lines: Sequence[Line], across: Scale, x: str) -> list[str]:
  """Lays a clear box over each epoch, which a browser shows the numbers of."""
  found: dict[float, list[str]] = {}
  for line in lines:
    for at, value in _thinned(line.points):
      found.setdefault(at, []).append(f"{line.name} {short(value)}")
  places = sorted(found)
  if len(places) > _POINTS:
    return []
  ends = [across(at) for at in places]
  between = [(a + b) / 2 for a, b in itertools.pairwise(ends)]
  starts, stops = [_LEFT, *between], [*between, _WIDE - _RIGHT]
  return [
      _clear(left, right, _TOP, _HIGH - _BOTTOM, f"{x} {short(at)}: {words}")
      for left, right, at, words in zip(
          starts,
          stops,
          places,
          (", ".join(found[at]) for at in places),
          strict=True,
      )
  ]


def _clear(
    left: float, right: float, top: float, foot: float, words: str
) -> str:
  return (
      f'<rect class="clear" x="{left:.1f}" y="{top:.1f}"'
      f' width="{max(right - left, 0.1):.1f}" height="{foot - top:.1f}">'
      f"<title>{escape(words)}</title></rect>"
  )


def _bars(
    n: int,
    name: str,
    counts: np.ndarray,
    edges: np.ndarray,
    across: Scale,
    up: Scale,
) -> list[str]:
  """Draws the bars of a group, its name and the greatest count."""
  foot = up.start
  shapes = [
      f'<path class="axis" d="M{_LEFT} {foot:g}H{_WIDE - _RIGHT}"/>',
      _text(_LEFT - 6, up.end + 4, short(int(up.high)), "end"),
      _text(_LEFT - 6, foot, "0", "end"),
      _text(_LEFT, up.end - 3, name, "start"),
  ]
  for k, count in enumerate(counts.tolist()):
    if count:
      left, right = across(edges[k]), across(edges[k + 1])
      words = f"{name}: {count:,} from {short(edges[k])} to"
      shapes.append(
          f'<rect class="bar c{n}" x="{left:.1f}" y="{up(count):.1f}"'
          f' width="{right - left - 1:.1f}" height="{foot - up(count):.1f}">'
          f"<title>{escape(words)} {short(edges[k + 1])}</title></rect>"
      )
  return shapes
