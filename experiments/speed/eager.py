"""The shared networks in eager PyTorch, as its users write them.

The same children as in `enas_jax/spaces/`, with the same weights in number and
shape, to time against: one module an operation, an architecture read by plain
Python. FORMS says what a user can switch on without a line of the model
changed.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F


class Form(NamedTuple):
  """What is switched on."""

  last: bool = False  # channels_last, of images
  half: bool = False  # bfloat16 autocast
  compile: bool = False  # torch.compile, of each child alone


# "torch" is as users write it, NCHW in float32. "torch_tuned" is what is the
# fastest on a CPU.
FORMS = {
    "torch": lambda text: Form(),
    "torch_tuned": lambda text: Form(last=not text, half=text),
    "torch_half": lambda text: Form(last=not text, half=True),
    "torch_compiled": lambda text: Form(last=not text, compile=True),
}

ACTIVATIONS = (torch.tanh, torch.relu, torch.sigmoid, lambda z: z)


def _norm(channels: int, eps: float = 1e-5, affine: bool = True) -> nn.Module:
  return nn.BatchNorm2d(channels, eps, affine=affine, track_running_stats=False)


def _conv(inside: int, outside: int, size: int = 1, groups: int = 1):
  return nn.Conv2d(
      inside, outside, size, padding=size // 2, groups=groups, bias=False
  )


class _Reduction(nn.Module):
  """Halves height and width by two 1 x 1 paths one pixel apart."""

  def __init__(self, inside: int, outside: int):
    super().__init__()
    self.even = _conv(inside, outside // 2)
    self.odd = _conv(inside, outside - outside // 2)
    self.norm = _norm(outside)

  def forward(self, x):
    parts = self.even(x[:, :, ::2, ::2]), self.odd(x[:, :, 1::2, 1::2])
    return self.norm(torch.cat(parts, 1))


class _Separable(nn.Sequential):
  """Twice ReLU, depthwise, pointwise, norm."""

  def __init__(self, c: int, size: int):
    stack = lambda: (
        nn.ReLU(), _conv(c, c, size, groups=c), _conv(c, c), _norm(c)
    )
    super().__init__(*stack(), *stack())


class _MicroCell(nn.Module):

  def __init__(self, before: int, x: int, c: int, nodes: int, halve: bool):
    super().__init__()
    shrink = _Reduction(before, c) if halve else _norm_conv(before, c)
    self.before = shrink if halve or before != c else None
    self.x = _norm_conv(x, c) if x != c else None
    self.convs = nn.ModuleDict({
        f"{node}_{source}_{side}_{size}": _Separable(c, size)
        for node in range(nodes)
        for source in range(node + 2)
        for side in range(2)
        for size in (3, 5)
    })
    self.mix = nn.ModuleList(_conv(c, c) for _ in range(nodes + 2))
    self.norm = _norm(c)

  def forward(self, before, x, table):
    before = before if self.before is None else self.before(F.relu(before))
    x = x if self.x is None else self.x(F.relu(x))
    states = [before, x]
    for node, (i, f, j, g) in enumerate(table):
      sides = ((i, f, 0), (j, g, 1))
      states.append(sum(
          self.side(states[source], op, f"{node}_{source}_{side}")
          for source, op, side in sides
      ))
    used = {source for row in table for source in (row[0], row[2])}
    loose = [n for n in range(len(states)) if n not in used]
    return self.norm(sum(self.mix[n](F.relu(states[n])) for n in loose))

  def side(self, x, op: int, name: str):
    match op:
      case 0 | 1:
        return self.convs[f"{name}_{(3, 5)[op]}"](x)
      case 2:
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
      case 3:
        return F.max_pool2d(x, 3, 1, 1)
      case 4:
        return x


def _norm_conv(inside: int, outside: int, size: int = 1) -> nn.Module:
  return nn.Sequential(_conv(inside, outside, size), _norm(outside))


class Micro(nn.Module):
  """The shared micro network with its auxiliary head."""

  def __init__(self, nodes: int, cells: int, filters: int, classes: int = 10):
    super().__init__()
    self.reductions = cells // 3, 2 * (cells // 3) + 1
    c = filters
    self.stem = _norm_conv(3, 3 * c, 3)
    self.shrinks, self.cells = nn.ModuleDict(), nn.ModuleList()
    before, x, halve = 3 * c, 3 * c, False
    for index in range(cells + 2):
      if index in self.reductions:
        c *= 2
        self.shrinks[str(index)] = _Reduction(x, c)
        before, x, halve = x, c, True
      self.cells.append(_MicroCell(before, x, c, nodes, halve))
      before, x, halve = x, c, False
    self.aux = nn.Sequential(
        nn.ReLU(), nn.AvgPool2d(5, 3), _conv(c, 128), _norm(128), nn.ReLU(),
        nn.Conv2d(128, 768, 2, padding="same", bias=False), _norm(768),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(768, classes, bias=False),
    )
    self.classifier = nn.Linear(c, classes, bias=False)

  def forward(self, images, arch):
    normal, reduce = (table.tolist() for table in arch)
    before = x = self.stem(images)
    aux = None
    for index, cell in enumerate(self.cells):
      if index in self.reductions:
        before, x = x, self.shrinks[str(index)](x)
      table = reduce if index in self.reductions else normal
      before, x = x, cell(before, x, table)
      if self.training and index == self.reductions[1] + 1:
        aux = self.aux(x)
    features = F.dropout(F.relu(x).mean((2, 3)), 0.1, self.training)
    return self.classifier(features), aux


class _MacroLayer(nn.Module):

  def __init__(self, c: int, index: int):
    super().__init__()
    entry = lambda: (*_norm_conv(c, c), nn.ReLU())
    end = lambda: (_norm(c, 1e-3), nn.ReLU())

    def conv(size):
      return nn.Sequential(*entry(), _conv(c, c, size), *end())

    def separable(size):
      both = _conv(c, c, size, groups=c), _conv(c, c)
      return nn.Sequential(*entry(), *both, *end())

    pools = (
        nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.MaxPool2d(3, 1, 1)
    )
    self.branches = nn.ModuleList([
        conv(3), separable(3), conv(5), separable(5),
        *(nn.Sequential(*entry(), pool) for pool in pools),
    ])
    self.norm = _norm(c) if index else None

  def forward(self, tensors, op, skips):
    x = self.branches[op](tensors[-1])
    if self.norm is None:
      return x
    read = [t for t, bit in zip(tensors, skips, strict=False) if bit]
    return self.norm(sum(read, x))


class Macro(nn.Module):
  """The shared macro network of all six operations."""

  def __init__(self, layers: int, filters: int, classes: int = 10):
    super().__init__()
    c = filters
    self.stem = _norm_conv(3, c, 3)
    self.layers = nn.ModuleList(_MacroLayer(c, n) for n in range(layers))
    third = layers // 3
    self.pools = nn.ModuleDict({
        str(at - 1): nn.ModuleList(_Reduction(c, c) for _ in range(at + 1))
        for at in (third, 2 * third)
    })
    self.classifier = nn.Linear(c, classes, bias=False)

  def forward(self, images, arch):
    ops, skips = arch.ops.tolist(), arch.skips.tolist()
    tensors = [self.stem(images)]
    for index, layer in enumerate(self.layers):
      tensors.append(layer(tensors, ops[index], skips[index][:index]))
      if str(index) in self.pools:
        shrinks = self.pools[str(index)]
        tensors = [f(t) for f, t in zip(shrinks, tensors, strict=True)]
    features = F.dropout(tensors[-1].mean((2, 3)), 0.1, self.training)
    return self.classifier(features), None


class _Block(nn.Module):
  """The residual block between two stages of NAS-Bench-201."""

  def __init__(self, inside: int, outside: int):
    super().__init__()
    self.first = _relu_conv_norm(inside, outside, 3, stride=2)
    self.second = _relu_conv_norm(outside, outside, 3)
    self.shrink = nn.Sequential(nn.AvgPool2d(2), _conv(inside, outside))

  def forward(self, x):
    return self.second(self.first(x)) + self.shrink(x)


def _relu_conv_norm(inside: int, outside: int, size: int, stride: int = 1):
  conv = nn.Conv2d(inside, outside, size, stride, size // 2, bias=False)
  return nn.Sequential(nn.ReLU(), conv, _norm(outside, affine=False))


class _Zero(nn.Module):

  def forward(self, x):
    return x.mul(0.0)


class _Cell(nn.Module):
  """Six edges of five operations each."""

  def __init__(self, c: int):
    super().__init__()
    self.edges = nn.ModuleList(
        nn.ModuleList([
            _Zero(),
            nn.Identity(),
            _relu_conv_norm(c, c, 1),
            _relu_conv_norm(c, c, 3),
            nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        ])
        for _ in range(6)
    )

  def forward(self, x, ops):
    states, edges = [x], zip(self.edges, ops, strict=True)
    for _ in range(3):
      read = zip(states, edges)  # noqa: B905
      states.append(sum(edge[op](state) for state, (edge, op) in read))
    return states[-1]


class NasBench201(nn.Module):
  """The shared network of NAS-Bench-201, its norms without weights."""

  def __init__(self, cells: int, filters: int, classes: int = 10):
    super().__init__()
    c = filters
    self.stem = nn.Sequential(_conv(3, c, 3), _norm(c, affine=False))
    self.stages = nn.ModuleList()
    for stage in range(3):
      if stage:
        self.stages.append(_Block(c, 2 * c))
        c *= 2
      self.stages.extend(_Cell(c) for _ in range(cells))
    self.norm = _norm(c, affine=False)
    self.classifier = nn.Linear(c, classes)

  def forward(self, images, arch):
    x, ops = self.stem(images), arch.ops.tolist()
    for stage in self.stages:
      x = stage(x, ops) if isinstance(stage, _Cell) else stage(x)
    x = F.relu(self.norm(x))
    return self.classifier(x.mean((2, 3))), None


class Recurrent(nn.Module):
  """The shared recurrent cell in its language model, masks as enas_lm's."""

  def __init__(self, nodes: int, hidden: int, vocabulary: int):
    super().__init__()
    h = hidden
    weight = lambda *shape: nn.Parameter(
        torch.empty(shape).uniform_(-0.04, 0.04)
    )
    self.embedding = weight(vocabulary, h)
    self.first = weight(2 * h, 2 * h)
    self.nodes = nn.ParameterDict({
        f"{node}_{op}_{source}": weight(h, 2 * h)
        for node in range(1, nodes + 1)
        for op in range(len(ACTIVATIONS))
        for source in range(node)
    })

  def mask(self, drop, *shape):
    ones = torch.ones(shape, device=self.first.device)
    return F.dropout(ones, drop, self.training)

  def forward(self, words, arch, state):
    """(logits[B, S, V], states[B, S, H]) of words[B, S]."""
    ops, sources = arch.ops.tolist(), arch.sources.tolist()
    batch, h = len(words), self.first.shape[1] // 2
    table = self.embedding * self.mask(0.1, len(self.embedding), 1)
    x = F.embedding(words, table) * self.mask(0.2, batch, 1, h)
    x = x * self.mask(0.75, batch, 1, h)
    mask = self.mask(0.25, batch, h)
    weights = [
        self.nodes[f"{n}_{ops[n]}_{source}"]
        for n, source in enumerate(sources, 1)
    ]
    states = []
    for position in range(words.shape[1]):
      read = torch.cat([x[:, position], mask * state], 1)
      nodes = [_unit(read @ self.first, ops[0], state)]
      for n, source in enumerate(sources, 1):
        before = nodes[source]
        product = (mask * before) @ weights[n - 1]
        nodes.append(_unit(product, ops[n], before))
      state = torch.stack(nodes[1:]).mean(0)
      states.append(state)
    states = torch.stack(states, 1)
    features = states * self.mask(0.75, batch, 1, h)
    return features @ self.embedding.T, states


def _unit(product, op: int, before):
  h, t = product.chunk(2, 1)
  return before + torch.sigmoid(t) * (ACTIVATIONS[op](h) - before)


SPACES = {
    "micro": Micro,
    "macro": Macro,
    "nasbench201": NasBench201,
    "recurrent": Recurrent,
}


def programs(
    device: str,
    space: str,
    arguments: dict,
    sizes: dict,
    rows: int,
    length: int,
    words: int,
    forms: tuple[str, ...],
):
  """{name: arch -> (train step, reward)} of each form, on noise.

  Args:
    device: of PyTorch, "cpu" or "cuda"; what runs there has ended on return.
    space: its name.
    arguments: of the space.
    sizes: of its network.
    rows: B.
    length: S of a segment, for text.
    words: V of the vocabulary, for text.
    forms: names out of FORMS.
  """
  torch.manual_seed(0)
  made = {}
  for name in forms:
    form = FORMS[name](space == "recurrent")
    # Not for good, since it slows every call.
    with torch.device(device):
      if space == "recurrent":
        model = Recurrent(arguments["nodes"], vocabulary=words, **sizes)
        run = _text(model, rows, length, words, form)
      else:
        model = SPACES[space](**arguments, **sizes)
        run = _images(model, rows, form)
    made[name] = run
  return made


def _alone(model: nn.Module, arch, form: Form):
  """The child of an architecture: what goes in beside it -> the result."""
  child = lambda *args: model(args[0], arch, *args[1:])
  return torch.compile(child) if form.compile else child


def _images(model: nn.Module, rows: int, form: Form):
  images, labels = torch.randn(rows, 3, 32, 32), torch.arange(rows) % 10
  half = torch.autocast(images.device.type, torch.bfloat16, enabled=form.half)
  if form.last:
    model.to(memory_format=torch.channels_last)
    images = images.to(memory_format=torch.channels_last)
  sgd = torch.optim.SGD(
      model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=2e-4
  )

  def prepare(arch):
    child = _alone(model, arch, form)

    def step():
      model.train()
      sgd.zero_grad(set_to_none=True)
      with half:
        logits, aux = child(images)
      loss = F.cross_entropy(logits.float(), labels)
      if aux is not None:
        loss = loss + 0.4 * F.cross_entropy(aux.float(), labels)
      loss.backward()
      sgd.step()
      _wait(images)

    @torch.no_grad()
    def reward():
      model.eval()
      with half:
        found = child(images)[0].argmax(1)
      (found == labels).float().mean().item()

    return step, reward

  return prepare


def _wait(tensor: torch.Tensor) -> None:
  if tensor.is_cuda:
    torch.cuda.synchronize()


def _text(model: Recurrent, rows: int, length: int, words: int, form: Form):
  text = torch.randint(words, (rows, length + 1))
  state = torch.zeros(rows, model.first.shape[1] // 2)
  sgd = torch.optim.SGD(model.parameters(), 20.0)
  half = torch.autocast(text.device.type, torch.bfloat16, enabled=form.half)

  def loss_of(child):
    with half:
      logits, states = child(text[:, :-1], state)
    loss = F.cross_entropy(
        logits.float().flatten(0, 1), text[:, 1:].flatten()
    )
    return loss, states

  def prepare(arch):
    child = _alone(model, arch, form)

    def step():
      model.train()
      sgd.zero_grad(set_to_none=True)
      loss, states = loss_of(child)
      slow = (states[:, 1:] - states[:, :-1]).float().square().mean()
      (loss + slow).backward()
      nn.utils.clip_grad_norm_(model.parameters(), 0.1)
      sgd.step()
      _wait(text)

    @torch.no_grad()
    def reward():
      model.eval()
      (80 / loss_of(child)[0].exp()).item()

    return step, reward

  return prepare
