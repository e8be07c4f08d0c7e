"""Pictures of architectures: all is in them, and nothing covers anything."""

import itertools
import pathlib
import re
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from test_spaces import SMALL, small_space

from enas_jax import steps
from enas_jax.report import drawing
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.types import Edge

# By `make demo`, as the README shows it.
DERIVED = "111324200101" "100310132211"
SVG = "{http://www.w3.org/2000/svg}"


def drawn(graphs):
  """[(x of the group, its texts, boxes, arrows)], one a graph."""
  root = ElementTree.fromstring(drawing.svg(graphs))
  found = []
  for group in root.findall(f"{SVG}g"):
    left = float(re.search(r"translate\(([\d.]+)", group.get("transform"))[1])
    texts = [text.text for text in group.findall(f"{SVG}text")]
    boxes = [
        [float(box.get(key)) for key in ("x", "y", "width", "height")]
        for box in group.findall(f"{SVG}rect")
    ]
    arrows = [points(path.get("d")) for path in group.findall(f"{SVG}path")]
    found.append((left, texts, boxes, arrows))
  return root, found


def points(path) -> np.ndarray:
  """[n, 2], on the way of an arrow."""
  found = []
  for kind, text in re.findall(r"([MVC])([^MVC]*)", path):
    numbers = np.array([float(number) for number in text.split()])
    match kind:
      case "M":
        found.append(numbers)
      case "V":
        found.append(np.array([found[-1][0], numbers[0]]))
      case "C":
        ends = np.stack([found[-1], *numbers.reshape(3, 2)])
        for t in np.linspace(0.1, 1, 10):
          s = 1 - t
          found.append([s**3, 3 * s * s * t, 3 * s * t * t, t**3] @ ends)
  return np.array(found)


def architectures():
  for name in SMALL:
    space = small_space(name)
    uniform = STRATEGIES["random"](space)
    proposed = steps.propose(uniform, (), jax.random.key(0), 5)
    for arch in steps.listed(proposed, 5):
      yield space.graphs(arch)
  for space in SPACES.values():
    for preset in space.presets.values():
      of = space(**preset.space)
      yield of.graphs(of.unflatten(preset.encoding))


def test_all_is_there_once_and_in_its_place():
  for graphs in architectures():
    root, found = drawn(graphs)
    assert len(found) == len(graphs)
    for (title, edges), (_, texts, boxes, arrows) in zip(
        graphs.items(), found, strict=True
    ):
      states = {str(s) for edge in edges for s in (edge.target, edge.source)}
      ops = [edge.operation for edge in edges if edge.operation]
      assert sorted(texts) == sorted([title, *states, *ops])
      assert len(boxes) == len(states) + len(ops)
      assert len(arrows) == len(edges) + len(ops)
      for (x, y, w, h), (x2, y2, w2, h2) in itertools.combinations(boxes, 2):
        assert max(x - x2 - w2, x2 - x - w, y - y2 - h2, y2 - y - h) > 5
      # From the foot of a box to the head of one below.
      feet = [(x + w / 2, y + h) for x, y, w, h in boxes]
      heads = [(x + w / 2, y) for x, y, w, h in boxes]
      for arrow in arrows:
        for end, ends in ((arrow[0], feet), (arrow[-1], heads)):
          assert np.abs(np.subtract(ends, end)).max(-1).min() < 0.2
        assert (np.diff(arrow[:, 1]) >= 0).all()
        for x, y, w, h in boxes:
          inside = np.abs(arrow - [x + w / 2, y + h / 2]) - [w / 2, h / 2]
          assert inside.max(-1).min() > -0.2
    width, height = (float(root.get(key)) for key in ("width", "height"))
    for left, _, boxes, arrows in found:
      for x, y, w, h in boxes:
        assert min(left + x, y) >= 0
        assert left + x + w <= width and y + h <= height
      assert all(left + arrow[:, 0].max() <= width for arrow in arrows)


def test_an_operation_stands_between_its_states():
  space = SPACES["macro"](layers=8)
  all_skips = space.unflatten([n for k in range(8) for n in (0, *[1] * k)])
  _, [(_, _, boxes, _)] = drawn(space.graphs(all_skips))
  middles = [x + w / 2 for x, y, w, _ in sorted(boxes, key=lambda box: box[1])]
  assert len(middles) == 17
  assert np.abs(np.diff(middles)).mean() < 15


def test_arrows_that_need_not_cross_do_not():
  edges = [Edge(2, 0, "tanh"), Edge(3, 1, "relu"), Edge(4, 1), Edge(5, 0)]
  _, [(_, texts, boxes, _)] = drawn({"cell": edges})
  x = {text: box[0] for text, box in zip(texts[1:], boxes, strict=True)}
  assert len({np.sign(x[a] - x[b]) for a, b in ("01", "23", "54")}) == 1


def test_what_no_other_reads_has_a_bold_rim():
  svg = drawing.svg({"cell": [Edge(1, 0, "tanh"), Edge(2, 0)]})
  bold = re.findall(r'stroke-width="3".*?>(\w+)</text>', svg)
  assert sorted(bold) == ["1", "2"]


def test_the_readme_shows_what_was_derived():
  file = pathlib.Path(__file__).parent.parent / "experiments/digits_micro.svg"
  space = SPACES["micro"](nodes=3)
  arch = space.unflatten([int(digit) for digit in DERIVED])
  assert file.read_text() == drawing.svg(space.graphs(arch))


def test_any_name_is_text():
  _, [(_, texts, _, _)] = drawn({"a < b": [Edge("x & y", '"<i>"', "1 > 0")]})
  assert set(texts) == {"a < b", "x & y", '"<i>"', "1 > 0"}


@pytest.mark.parametrize(
    "wanted, widths, found",
    [
        ([0, 0], [10, 10], [-5, 5]),
        ([0, 30, 60], [10, 20, 10], [0, 30, 60]),
        ([0, 1, 100], [10, 10, 10], [-4.5, 5.5, 100]),
        ([9, 0, 0], [2, 4, 2], [0, 3, 6]),
        ([0, 0, 0, 3], [2, 2, 2, 2], [-2.25, -0.25, 1.75, 3.75]),
    ],
)
def test_the_nearest_places_without_an_overlap(wanted, widths, found):
  places = drawing._apart(np.array(wanted, float), np.array(widths, float))
  np.testing.assert_allclose(places, found)
