"""Draws experiments/nasbench201.svg: true accuracy against minutes a search.

  python -m experiments.plots

The numbers are those of experiments/results/nasbench201.md: the first table,
which says how many minutes a search took and what it derived. A test compares
the file with what is drawn, and the numbers with that table.
"""

from collections.abc import Callable
import pathlib

FILE = pathlib.Path(__file__).with_name("nasbench201.svg")
OPTIMUM = 94.37  # the best of all 15,625 architectures
# (minutes, {strategy: (mean, standard deviation)}), in the order of the table.
RESULTS = (
    (
        (29, 61),
        {
            "reinforce": (94.34, 0.03),
            "evolution": (91.54, 1.06),
            "random search": (91.90, 1.28),
        },
    ),
    (
        (13, 18),
        {
            "reinforce": (93.68, 0.07),
            "evolution": (91.42, 0.96),
            "random search": (91.42, 1.01),
        },
    ),
    (
        (28, 48),
        {
            "reinforce": (94.02, 0.20),
            "evolution": (93.07, 0.59),
            "random search": (91.97, 0.10),
        },
    ),
    (
        (7, 8),
        {
            "reinforce": (93.49, 0.24),
            "evolution": (93.17, 0.42),
            "random search": (91.52, 0.35),
        },
    ),
)
_COLOURS = {
    "reinforce": "#1a6fb5",
    "evolution": "#b5541a",
    "random search": "#5f6b76",
}
_APART = {"reinforce": 0.0, "evolution": -0.7, "random search": 0.7}  # minutes
_LEFT, _TOP, _WIDTH, _HEIGHT = 64, 30, 560, 300
_MINUTES, _LOW, _HIGH = 65, 90.0, 95.0


def svg() -> str:
  """Returns the picture."""
  x = lambda minutes: _LEFT + _WIDTH * minutes / _MINUTES
  y = lambda value: _TOP + _HEIGHT * (_HIGH - value) / (_HIGH - _LOW)
  lines = [
      '<svg xmlns="http://www.w3.org/2000/svg" width="660" height="400"'
      ' viewBox="0 0 660 400" font-family="sans-serif" font-size="13">',
      "<title>NAS-Bench-201: true test accuracy against minutes a search"
      "</title>",
      '<rect width="660" height="400" fill="white"/>',
      *_axes(x, y),
  ]
  for (first, last), found in RESULTS:
    for name, (mean, std) in found.items():
      here = x((first + last) / 2 + _APART[name])
      lines += [
          f'<g stroke="{_COLOURS[name]}" stroke-width="1.5">',
          _line(here, y(mean - std), here, y(mean + std)),
          _line(x(first), y(mean), x(last), y(mean)),
          f'<circle cx="{here:.1f}" cy="{y(mean):.1f}" r="4.5" '
          f'fill="{_COLOURS[name]}"/></g>',
      ]
  for n, (name, colour) in enumerate(_COLOURS.items()):
    left = _LEFT + 10 + 150 * n
    lines += [
        f'<circle cx="{left}" cy="386" r="4.5" fill="{colour}"/>',
        _text(left + 10, 390, name, "start"),
    ]
  return "\n".join([*lines, "</svg>"]) + "\n"


def _axes(x: Callable, y: Callable) -> list[str]:
  lines = ['<g stroke="#ccd2d8">']
  marks = range(int(_LOW), int(_HIGH) + 1)
  lines += [_line(x(0), y(mark), x(_MINUTES), y(mark)) for mark in marks]
  lines += ["</g>", '<g fill="#333">']
  lines += [_text(x(0) - 8, y(mark) + 4, f"{mark} %", "end") for mark in marks]
  for mark in range(0, _MINUTES, 10):
    lines.append(_text(x(mark), y(_LOW) + 18, str(mark)))
  lines += [
      _text(x(_MINUTES / 2), y(_LOW) + 36, "minutes a search, one CPU core"),
      _text(
          x(0), 18, "true test accuracy on CIFAR-10: mean ± std of 3 seeds;"
          " lines across: range of minutes", "start",
      ),
      _text(x(_MINUTES), y(OPTIMUM) - 5, f"best of all: {OPTIMUM} %", "end"),
      "</g>",
      f'<g stroke="#111" stroke-dasharray="6 4">'
      f"{_line(x(0), y(OPTIMUM), x(_MINUTES), y(OPTIMUM))}</g>",
  ]
  return lines


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
  return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
  return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


if __name__ == "__main__":
  FILE.write_text(svg(), encoding="utf-8")
  print(f"Wrote {FILE}.")
