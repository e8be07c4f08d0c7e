r"""A language model of one's own on Python's own reference.

  python -m enas_jax.main --config=configs/own_text.py --workdir=runs/own_text

Four layers choose what they do to the words so far, an activation, and which
earlier layers to add; what is derived is trained beside two random ones.

Variants as in cifar_micro.py, but no profile.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from enas_jax.build import recipe
from enas_jax.configs import pydoc_recurrent, pydoc_recurrent_final
from enas_jax.nn import Reader
from enas_jax.spaces import choices
from enas_jax.variants import parse

LAYERS = 4


class Gate(nn.Module):
  """A gated mean of the words so far; it remembers the mean."""

  @nn.compact
  def __call__(self, x, before):
    value, keep, show = jnp.split(nn.Dense(3 * x.shape[-1])(x), 3, -1)
    keep = jax.nn.sigmoid(keep)
    step = lambda mean, now: (now[1] * mean + now[0],) * 2
    _, means = jax.lax.scan(step, before, ((1 - keep) * value, keep))
    return jax.nn.sigmoid(show) * means, means


class Shift(nn.Module):
  """A layer on each word and the one before it; it remembers the word."""

  @nn.compact
  def __call__(self, x, before):
    last = jnp.concatenate([before[None].astype(x.dtype), x[:-1]])
    return nn.Dense(x.shape[-1])(jnp.concatenate([x, last], -1)), x


class Model(Reader):
  """Layers on the words x[S, B, H], S in a segment and B side by side."""

  def start(self, batch):
    return (jnp.zeros((batch, self.hidden)),) * LAYERS

  def read(self, x, arch, carry, *, train):
    seen, carries = [], []
    for op, act, inputs, before in zip(*arch, carry, strict=True):
      y, after = choices.apply(op, {
          "gate": Gate(),
          "shift": Shift(),
          "dense": lambda x, before: (nn.Dense(x.shape[-1])(x), x),
      }, nn.LayerNorm()(x), before)
      acts = {"tanh": jnp.tanh, "relu": nn.relu, "silu": nn.silu}
      y = choices.apply(act, acts, y)
      seen.append(x)
      x = y + choices.total(inputs, seen)
      carries.append(after)
    return nn.LayerNorm()(x), tuple(carries), 0.0


Layers = choices.space(
    Model,
    op=choices.one_of("gate", "shift", "dense", times=LAYERS),
    act=choices.one_of("tanh", "relu", "silu", of="op"),
    inputs=choices.subset(of="op", target=0.5, given=1),
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  smoke = parse(variant, profiles=False).smoke
  config = pydoc_recurrent.get_config(variant)
  final = pydoc_recurrent_final.get_config(variant)
  for each in (config, final):
    each.space = {"name": f"{__file__}:Layers"}
    each.task = {"name": "language_model"}
    each.network = {"hidden": 8 if smoke else 64}
    each.network.update(input_keep=0.75, output_keep=0.75)
  config.child.lr = final.child.lr = 1.0 if smoke else 10.0
  config.reinforce.skip_weight = 0.8  # draws the inputs to their target
  config.retrain.config = recipe(final)
  return config
