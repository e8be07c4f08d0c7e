"""Pictures of architectures: all is in them, and nothing covers anything."""

import itertools
import re
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from test_spaces import SMALL, small_space

from enas_jax import drawing, search
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.types import Edge

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
    arrows = [
        [float(value) for value in re.findall(r"[\d.]+", path.get("d"))]
        for path in group.findall(f"{SVG}path")
    ]
    found.append((left, texts, boxes, arrows))
  return root, found


def architectures():
  for name in SMALL:
    space = small_space(name)
    uniform = STRATEGIES["random"](space)
    proposed = search.propose(uniform, (), jax.random.key(0), 5)
    for arch in search.listed(proposed, 5):
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
        for end, ends in ((arrow[:2], feet), (arrow[-2:], heads)):
          assert np.abs(np.subtract(ends, end)).max(-1).min() < 0.2
        assert arrow[1] < arrow[-1]
    width, height = (float(root.get(key)) for key in ("width", "height"))
    for left, _, boxes, arrows in found:
      for x, y, w, h in boxes:
        assert min(left + x, y) >= 0
        assert left + x + w <= width and y + h <= height
      assert all(left + max(arrow[::2]) <= width for arrow in arrows)


def test_an_arrow_passes_beside_the_boxes_of_a_rank():
  edges = [Edge(1, 0, "identity"), Edge(2, 1, "identity"), Edge(2, 0)]
  _, [(_, _, boxes, arrows)] = drawn({"cell": edges})
  passing = max(arrows, key=len)
  passed = np.reshape(passing[6:-2], (-1, 6))[:, :2]  # where it passes a rank
  assert len(passed) == 3
  for x, y, width, height in boxes:
    for px, py in passed:
      assert not (y < py < y + height and x < px < x + width)


def test_arrows_that_need_not_cross_do_not():
  edges = [Edge(2, 0, "tanh"), Edge(3, 1, "relu"), Edge(4, 1), Edge(5, 0)]
  _, [(_, texts, boxes, _)] = drawn({"cell": edges})
  x = {text: box[0] for text, box in zip(texts[1:], boxes, strict=True)}
  assert len({np.sign(x[a] - x[b]) for a, b in ("01", "23", "54")}) == 1


def test_what_no_other_reads_has_a_bold_rim():
  svg = drawing.svg({"cell": [Edge(1, 0, "tanh"), Edge(2, 0)]})
  bold = re.findall(r'stroke-width="3".*?>(\w+)</text>', svg)
  assert sorted(bold) == ["1", "2"]


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
