"""The final micro network in eager PyTorch, as its users write it.

It has as many weights as the network that `enas_jax/spaces/micro/final.py`
builds without an auxiliary head, in the same shapes, and does the same, but
for the side on which a strided window is padded. "As users write it" and
"tuned" are as in eager.py.
"""

import functools

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def _norm_conv(inside: int, outside: int, size: int = 1) -> nn.Sequential:
  conv = nn.Conv2d(inside, outside, size, padding=size // 2, bias=False)
  return nn.Sequential(conv, nn.BatchNorm2d(outside))


class _Reduction(nn.Module):
  """Halves height and width by two 1 x 1 paths one pixel apart."""

  def __init__(self, inside: int, outside: int):
    super().__init__()
    self.even = nn.Conv2d(inside, outside // 2, 1, bias=False)
    self.odd = nn.Conv2d(inside, outside - outside // 2, 1, bias=False)
    self.norm = nn.BatchNorm2d(outside)

  def forward(self, x):
    parts = self.even(x[:, :, ::2, ::2]), self.odd(x[:, :, 1::2, 1::2])
    return self.norm(torch.cat(parts, 1))


def _separable(c: int, size: int, stride: int) -> nn.Sequential:
  layers = []
  for step in (stride, 1):
    depthwise = nn.Conv2d(
        c, c, size, step, size // 2, groups=c, bias=False
    )
    layers += [nn.ReLU(), depthwise, *_norm_conv(c, c)]
  return nn.Sequential(*layers)


def _operation(c: int, op: int, stride: int) -> nn.Module:
  match op:
    case 0 | 1:
      return _separable(c, (3, 5)[op], stride)
    case 2:
      return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    case 3:
      return nn.MaxPool2d(3, stride, 1)
  return nn.Identity() if stride == 1 else _Reduction(c, c)


class _Cell(nn.Module):

  def __init__(self, before: int, x: int, c: int, table, stride: int, halve):
    super().__init__()
    self.table = table
    shrink = _Reduction if halve else _norm_conv
    self.before = shrink(before, c) if halve or before != c else None
    self.x = _norm_conv(x, c) if x != c else None
    self.project = _norm_conv(c, c)
    self.sides = nn.ModuleList(
        _operation(c, op, stride if source < 2 else 1)
        for row in table
        for source, op in zip(row[0::2], row[1::2], strict=True)
    )
    used = {source for row in table for source in row[0::2]}
    self.ends = [n for n in range(len(table) + 2) if n not in used]
    self.shrinks = nn.ModuleDict({
        str(n): _Reduction(c, c) for n in self.ends if stride == 2 and n < 2
    })

  def forward(self, before, x):
    before = before if self.before is None else self.before(F.relu(before))
    x = x if self.x is None else self.x(F.relu(x))
    states = [before, self.project(F.relu(x))]
    for n, row in enumerate(self.table):
      one, other = self.sides[2 * n : 2 * n + 2]
      states.append(one(states[row[0]]) + other(states[row[2]]))
    ends = [
        self.shrinks[str(n)](states[n]) if str(n) in self.shrinks else states[n]
        for n in self.ends
    ]
    return torch.cat(ends, 1)


class FinalMicro(nn.Module):
  """The final micro network of one architecture, without auxiliary head.

  Its weights start as ours, so that nothing vanishes in a deep one.
  """

  def __init__(self, tables, cells: int, filters: int, channels: int):
    super().__init__()
    reductions = cells // 3, 2 * (cells // 3) + 1
    c, before, x, halve = filters, 3 * filters, 3 * filters, False
    self.stem = _norm_conv(channels, 3 * c, 3)
    self.cells = nn.ModuleList()
    for index in range(cells + 2):
      reduce = index in reductions
      c *= 1 + reduce
      cell = _Cell(before, x, c, tables[reduce], 1 + reduce, halve)
      self.cells.append(cell)
      before, x, halve = x, len(cell.ends) * c, reduce
    self.classifier = nn.Linear(x, 10, bias=False)
    for module in self.modules():
      if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight)

  def forward(self, images):
    before = x = self.stem(images)
    for cell in self.cells:
      before, x = x, cell(before, x)
    return self.classifier(F.relu(x).mean((2, 3)))


def programs(tables, cells: int, filters: int, shape, batches):
  """{name: arch -> a run for each batch} of both tunings, on noise.

  A run takes pixels to probabilities, u8[B, H, W, C] -> f32[B, 10].

  Args:
    tables: of the normal and of the reduction cell, lists of integers.
    cells: normal ones.
    filters: of the first cells.
    shape: (H, W, C).
    batches: the sizes B.
  """
  torch.manual_seed(0)
  made, rng = {}, np.random.default_rng(0)
  for name, form in (
      ("torch", torch.contiguous_format),
      ("torch_tuned", torch.channels_last),
  ):
    model = FinalMicro(tables, cells, filters, shape[-1]).eval()
    model.to(memory_format=form)

    @torch.inference_mode()
    def run(pixels, model, form):
      images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
      images = ((images / 255 - 0.5) / 0.25).contiguous(memory_format=form)
      found = F.softmax(model(images), 1).numpy()
      assert np.isfinite(found).all()

    runs = [
        functools.partial(
            run, rng.integers(0, 256, (batch, *shape), np.uint8), model, form
        )
        for batch in batches
    ]
    made[name] = lambda arch, runs=runs: runs
  return made
