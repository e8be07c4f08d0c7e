"""Draws an arch as a picture in SVG, which every browser shows.

A rounded box is a state and a square box is an operation. A state is the sum of
all that points at it. A state with a bold rim is read by no other state.
"""

from html import escape
import itertools
import pathlib
from xml.etree import ElementTree

import numpy as np

from enas_jax.types import Edge

# The first name that is part of an operation's name gives its colour.
_COLOURS = {
    "sep_conv": "#c9def5",
    "conv": "#d9d2f2",
    "avg_pool": "#fbe3c0",
    "max_pool": "#f8cfc4",
    "tanh": "#c9def5",
    "relu": "#fbe3c0",
    "sigmoid": "#d9d2f2",
    "": "#e9ecef",
}
_FONT = 'font-family="sans-serif" font-size="12" text-anchor="middle"'
# The width of a letter, the height of a box and the gap between boxes, in px.
_LETTER, _HEIGHT, _GAP = 7, 26, 12
_ROW = 58  # px from one level to the next
_LANE = 6  # px that an arrow takes where it passes a level
_SWEEPS = 8  # sweeps down and up; more of them hardly change a picture
# What `svg` writes, but for what names the heads of arrows.
_ELEMENTS = {"svg", "g", "defs", "marker", "path", "rect", "text"}
_ATTRIBUTES = {
    *("width", "height", "viewBox", "transform", "x", "y", "rx", "d"),
    *("fill", "stroke", "stroke-width", "stroke-dasharray", "text-anchor"),
    *("font-family", "font-size", "refX", "refY", "markerWidth"),
    *("markerHeight", "orient"),
}


def write(folder: pathlib.Path, graphs: dict[str, list[Edge]]) -> pathlib.Path:
  """Writes `arch.svg` into the folder of a run and returns its path."""
  path = folder / "arch.svg"
  path.write_text(svg(graphs), encoding="utf-8")
  return path


def svg(graphs: dict[str, list[Edge]]) -> str:
  """Returns the text of an SVG file with the graphs side by side.

  Args:
    graphs: The graphs of an arch, as its space gives them.
  """
  left, height, shapes = 0.0, 0.0, []
  for name, edges in graphs.items():
    inner, width, depth = _graph(edges)
    shapes += [
        f'<g transform="translate({left:.1f} 0)">',
        f'<text x="{width / 2:.1f}" y="20" {_FONT}>{escape(name)}</text>',
        *inner,
        "</g>",
    ]
    left, height = left + width, max(height, depth)
  return "\n".join([
      f'<svg xmlns="http://www.w3.org/2000/svg" width="{left:.0f}"'
      f' height="{height:.0f}" viewBox="0 0 {left:.0f} {height:.0f}">',
      '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4"'
      ' markerWidth="7" markerHeight="7" orient="auto">'
      '<path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>',
      '<rect width="100%" height="100%" fill="white"/>',
      *shapes,
      "</svg>\n",
  ])


def inline(text: str, label: str, tip: str) -> str:
  """Returns a drawing for a page, of the elements alone that `svg` writes.

  Args:
    text: The text of an `arch.svg`, which may be somebody else's.
    label: What it shows, in words, for who cannot see it.
    tip: The name of the heads of its arrows, which a page has once.

  Raises:
    ValueError: It is no SVG, or declares what no drawing of ours does.
  """
  if "<!" in text:
    raise ValueError("a drawing has no declarations")
  try:
    root = ElementTree.fromstring(text)
  except ElementTree.ParseError as error:
    raise ValueError(str(error)) from None
  root.attrib["label"] = label
  return _copied(root, tip)


def _copied(element: ElementTree.Element, tip: str) -> str:
  """Returns an element and those in it that `svg` writes, as HTML."""
  kind = element.tag.removeprefix("{http://www.w3.org/2000/svg}")
  if kind not in _ELEMENTS:
    return ""
  inner = escape(element.text or "") if kind == "text" else ""
  inner += "".join(_copied(each, tip) for each in element)
  found = {
      name: value
      for name, value in element.items()
      if name in _ATTRIBUTES and "url(" not in value
  }
  if kind == "svg":
    found |= {"class": "arch", "role": "img"}
    found["aria-label"] = element.get("label", "")
  if kind == "marker":
    found["id"] = tip
  if "marker-end" in element.attrib:
    found["marker-end"] = f"url(#{tip})"
  words = "".join(f' {k}="{escape(v)}"' for k, v in found.items())
  return f"<{kind}{words}>{inner}</{kind}>"


def _graph(edges: list[Edge]) -> tuple[list[str], float, float]:
  """Returns (shapes, width, height) of a graph that runs from inputs down."""
  links, labels = _links(edges)
  levels, chains = _levelled(links)
  rows = _ordered(levels, chains)
  place, width = _placed(rows, chains, labels)
  top = 50.0
  y = {vertex: top + _ROW * level for vertex, level in levels.items()}
  shapes = [_arrow([(place[v], y[v]) for v in chain]) for chain in chains]
  read = {source for source, _ in links}
  for vertex, label in labels.items():
    x, bold = place[vertex], vertex not in read
    shapes.append(_shape(label, x, y[vertex], isinstance(vertex, str), bold))
  return shapes, width, top + _ROW * (len(rows) - 1) + _HEIGHT + _GAP


def _links(edges):
  """Returns (links, labels) of a graph.

  A link is a pair of vertices, the first of which points at the second. A
  vertex is the name of a state, or the number of an edge, which stands for the
  operation of that edge. An edge without an operation is a link from state to
  state. The labels are the texts of the boxes by their vertices.
  """
  links, labels = [], {}
  for number, edge in enumerate(edges):
    source, target = str(edge.source), str(edge.target)
    labels |= {source: source, target: target}
    if edge.operation:
      labels[number] = edge.operation
      links += [(source, number), (number, target)]
    else:
      links.append((source, target))
  return links, labels


def _levelled(links):
  """Returns the level of each vertex, and each link as a chain of vertices.

  The level of a vertex is the length of the longest way to it from an input. A
  chain has one vertex on each level from the first to the last vertex of its
  link; those in between are tuples that only hold a place for the arrow.
  """
  levels = {}
  for source, target in links:  # a state's own inputs come before it is read
    below = levels.setdefault(source, 0) + 1
    levels[target] = max(levels.get(target, 0), below)
  chains = []
  for number, (source, target) in enumerate(links):
    passed = {
        (number, level): level
        for level in range(levels[source] + 1, levels[target])
    }
    levels |= passed
    chains.append([source, *passed, target])
  return levels, chains


def _neighbours(chains):
  """Returns the neighbours of each vertex above it, and those below it.

  The links of an operation count nine times, so that it stands between its
  states and not among the arrows of skips.
  """
  above, below = {}, {}
  for chain in chains:
    for upper, lower in itertools.pairwise(chain):
      weight = 9 if any(isinstance(v, int) for v in chain) else 1
      above.setdefault(lower, []).extend(weight * [upper])
      below.setdefault(upper, []).extend(weight * [lower])
  return above, below


def _ordered(levels, chains):
  """Returns the vertices of each level from left to right, with few crossings.

  Sweeps down and up in turn sort the vertices of a level by the mean place of
  their neighbours (Sugiyama, Tagawa, Toda, 1981).
  """
  rows = [[] for _ in range(max(levels.values()) + 1)]
  for vertex, level in levels.items():
    rows[level].append(vertex)
  neighbours = _neighbours(chains)
  for sweep in range(_SWEEPS):
    near = neighbours[sweep % 2]
    at = {v: n for row in rows for n, v in enumerate(row)}
    for row in rows if sweep % 2 == 0 else reversed(rows):
      row.sort(key=lambda v: np.mean([at[u] for u in near.get(v, [v])]))
      at |= {vertex: n for n, vertex in enumerate(row)}
  return rows


def _placed(rows, chains, labels):
  """Returns the x of the centre of each vertex, and the width of the graph."""
  widths = {
      v: _width(labels[v]) + _GAP if v in labels else _LANE
      for row in rows
      for v in row
  }
  place = {v: 0.0 for v in widths}
  neighbours = _neighbours(chains)
  for sweep in range(_SWEEPS):
    near = neighbours[sweep % 2]
    for row in rows if sweep % 2 == 0 else reversed(rows):
      wanted = [np.mean([place[u] for u in near.get(v, [v])]) for v in row]
      found = _apart(np.array(wanted), np.array([widths[v] for v in row]))
      place |= dict(zip(row, found.tolist(), strict=True))
  first = min(place[v] - widths[v] / 2 for v in place) - _GAP
  last = max(place[v] + widths[v] / 2 for v in place) + _GAP
  return {v: x - first for v, x in place.items()}, last - first


def _apart(wanted: np.ndarray, widths: np.ndarray) -> np.ndarray:
  """Returns the centres f[n] nearest to `wanted` at which no boxes overlap.

  Nearest is meant in the sense of least squares.

  Args:
    wanted: f[n], the centres from left to right.
    widths: f[n], the widths of the boxes.
  """
  packed = np.cumsum(widths) - widths / 2
  blocks = []  # (sum, count) of each run of boxes that touch
  for value in wanted - packed:
    total, count = value, 1
    while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
      more, others = blocks.pop()
      total, count = total + more, count + others
    blocks.append((total, count))
  return packed + np.repeat(
      [total / count for total, count in blocks], [n for _, n in blocks]
  )


def _width(label: str) -> float:
  """Returns the width of a box in px."""
  return max(_HEIGHT, _LETTER * len(label) + 12)


def _arrow(points: list[tuple[float, float]]) -> str:
  """Draws an arrow from the foot of the first point to the head of the last.

  It passes the points in between upright.
  """
  half = _HEIGHT / 2
  (x0, y0), *rest = points
  path = f"M{x0:.1f} {y0 + half:.1f}"
  for x1, y1 in rest:
    middle = (y0 + y1) / 2
    path += (
        f"V{y0 + half:.1f}C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f}"
        f" {x1:.1f} {y1 - half:.1f}"
    )
    x0, y0 = x1, y1
  return f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#tip)"/>'


def _shape(label: str, x: float, y: float, state: bool, bold: bool) -> str:
  """Draws a box with its label."""
  width = _width(label)
  colour = next(c for name, c in _COLOURS.items() if name in label)
  dashes = ' stroke-dasharray="4"' if label == "none" else ""
  return (
      f'<rect x="{x - width / 2:.1f}" y="{y - _HEIGHT / 2:.1f}"'
      f' width="{width:.1f}" height="{_HEIGHT}"'
      f' rx="{_HEIGHT / 2 if state else 4}"'
      f' fill="{"white" if state else colour}" stroke="#333"'
      f' stroke-width="{3 if bold else 1}"{dashes}/>'
      f'<text x="{x:.1f}" y="{y + 4:.1f}" {_FONT}>{escape(label)}</text>'
  )
