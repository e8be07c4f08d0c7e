"""Troubles that do harm in silence."""

import json
import signal

import numpy as np
from PIL import Image, ImageOps

from enas_jax import archfile, data, settings
from enas_jax.build import recipes, spaces
from enas_jax.configs import cifar_macro
from enas_jax.data import telling
from enas_jax.errors import ConfigError
from enas_jax.report import words
from enas_jax.spaces.nasbench201 import NasBench201
from experiments.troubles import house, runs
from experiments.troubles.house import row

TITLE = "Silent harm first"


def _read(path, **more):
  """Returns the source of a folder that was read, and what is told of it."""
  told = []
  with telling.heard(told.append):
    source = data.load("folder", path=str(path), **more)
    source.train()
  return source, told


@row(
    "PNG whose shape is in the alpha channel only (RGB all 0)",
    "composited on white, whatever the mode that carries transparency",
)
def transparent() -> str:
  shape = house.picture(0).point(lambda value: 255 * (value > 127))
  black = Image.new("L", shape.size, 0)
  palette = shape.point(lambda value: value // 255, "L")
  palette = Image.frombytes("P", shape.size, palette.tobytes())
  palette.putpalette([0, 0, 0] * 2)
  keyed = shape.point(lambda value: 0 if value else 7)
  kinds = {
      "RGBA": (Image.merge("RGBA", [black] * 3 + [shape]), {}),
      "LA": (Image.merge("LA", [black, shape]), {}),
      "P": (palette, {"transparency": 0}),
      "L": (keyed, {"transparency": 7}),
      "RGB": (Image.merge("RGB", [keyed] * 3), {"transparency": (7, 7, 7)}),
  }
  for mode, (picture, how) in kinds.items():
    place = house.pictures(house.folder(), {"a": 1, "b": 1}, 1)
    for file in place.rglob("*.png"):
      picture.save(file, **how)
    images = _read(place)[0].train().images
    assert (images == 255 - np.asarray(shape)[..., None]).all(), mode
  return f"black on white in {', '.join(kinds)}: each pixel is 255 - alpha"


@row(
    "JPEG stored sideways with an orientation tag",
    "upright, as a viewer shows it",
)
def sideways() -> str:
  turns = Image.Transpose
  stored = {
      1: None,
      2: turns.FLIP_LEFT_RIGHT,
      3: turns.ROTATE_180,
      4: turns.FLIP_TOP_BOTTOM,
      5: turns.TRANSPOSE,
      6: turns.ROTATE_90,
      7: turns.TRANSVERSE,
      8: turns.ROTATE_270,
  }
  up = Image.new("L", (32, 16), 20)
  up.paste(230, (0, 0, 8, 8))
  worst = naive = 0.0
  for orientation, turn in stored.items():
    place = house.pictures(house.folder(), {"a": 1, "b": 1}, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for file in [*place.rglob("*.png")]:
      turned = up if turn is None else up.transpose(turn)
      turned.save(file.with_suffix(".jpg"), exif=exif, quality=95)
      file.unlink()
    source, _ = _read(place)
    viewed = np.asarray(ImageOps.exif_transpose(turned_with(file)))
    found = source.train().images[0, ..., 0].astype(float)
    assert found.shape == (16, 32), found.shape
    worst = max(worst, np.abs(found - np.asarray(up)).mean())
    naive = max(naive, np.abs(found - viewed).max())
  assert worst < 2 and naive == 0, (worst, naive)
  return (
      f"upright in all 8 orientations: mean difference at most {worst:.1f} of"
      " 255, that of the JPEG; each pixel is what a viewer shows"
  )


def turned_with(file) -> Image.Image:
  """Opens the JPEG that took the place of a file."""
  return Image.open(file.with_suffix(".jpg"))


@row(
    "`train/@eaDir/x.jpg`, `__MACOSX`, `.ipynb_checkpoints`, `Thumbs.db`",
    "files and folders of systems are left out, and counted in one line",
)
def left_behind() -> str:
  place = house.pictures(house.folder(), {"cat": 3, "dog": 3})
  for name in ("@eaDir", "__MACOSX", ".ipynb_checkpoints"):
    (place / "train" / name).mkdir()
    house.picture(0).save(place / "train" / name / "x.jpg")
  (place / "train" / "cat" / "Thumbs.db").write_bytes(b"\xd0\xcf")
  source, told = _read(place)
  [line] = [line for line in told if "systems" in line]
  assert source.names == ("cat", "dog")
  assert ": 4 files and folders of systems: " in line
  return f"classes cat, dog; `{line}`"


@row(
    "5 of 160 training images in class `bad`, validation of 16",
    "the held-out split keeps the classes' shares; a class without a validation"
    " image, and candidates that all score alike, are told in one line",
)
def rare() -> str:
  place = house.pictures(house.folder(), {"bad": 5, "good": 155})
  labels = _read(place)[0].train().labels
  held = int((labels[-16:] == 0).sum())
  assert held >= 1
  said = runs.search().out
  [line] = [li for li in said.splitlines() if li.startswith("No image to val")]
  assert words.ALIKE in said
  return (
      f"{held} of the 16 is `bad`; a search with a validation of 1 tells"
      f" `{line}` and at its end `{words.ALIKE}`"
  )


@row(
    "folders named 1 to 12",
    "names in order in the run's record and the log; numbers sort as numbers",
)
def numbered() -> str:
  run = runs.training()
  names = [str(n) for n in range(1, 13)]
  assert (run.path / "labels.txt").read_text().splitlines() == names
  log = (run.path / "log.txt").read_text(encoding="utf-8")
  [line] = [li for li in log.splitlines() if ", ".join(names[:6]) in li]
  return f"`{line}` in log.txt, and all twelve so in labels.txt"


@row(
    '`--config.arch="4 0 3 1 4 3"` in NAS-Bench-201, written by another library'
    " in another order of operations and edges",
    "every run prints its architecture in words before it trains; the refusal"
    " of a tuple names the forms that are read",
)
def another_order() -> str:
  said = runs.training().ended.out
  before, _, _ = said.partition("epoch 1")
  printed = [li.strip() for li in before.splitlines() if "|" in li]
  assert len(printed) == 1, before
  try:
    archfile.parse("config.arch", "('nor_conv_3x3', 0)", NasBench201())
    raise AssertionError("A tuple was taken.")
  except ConfigError as error:
    assert "the notation |" in str(error) and "6 integers" in str(error)
    return f"prints `{printed[0]}` before epoch 1; a tuple: `{error}`"


@row(
    "a byte-order mark at the head of the training text",
    "dropped (perplexity 9.00 of 9 words, not 9.52)",
)
def marked() -> str:
  content = "the cat sat\non the mat\n"
  found = []
  for mark in ("", "\ufeff"):
    place = house.texts(house.folder(), mark + content, "the cat\n", "the\n")
    source = data.load("ptb", path=str(place))
    found.append((source.words.vocabulary, source.train().tolist()))
  assert found[0] == found[1]
  return f"the same {len(found[0][0])} words and numbers with it and without"


@row(
    "a benchmark table of CIFAR-10 beside a folder of other pictures",
    "the mismatch is refused or said in that line",
)
def another_set() -> str:
  said = runs.search().out.splitlines()
  [line] = [li for li in said if li.startswith("The benchmark's table is of")]
  assert "cifar10" in line and "folder" in line
  [score] = [li for li in said if "Test accuracy on cifar10 of the deri" in li]
  return f"`{line}`, and the accuracy is called `{score.split(' in the')[0]}`"


@row(
    "`objective.cost=params` in macro",
    "the cost is that of the network that `retrain.command` names, so 9,293,472"
    " and 15,763,104 with `cifar_macro_final`",
)
def counted() -> str:
  config = cifar_macro.get_config()
  assert config.retrain.command == "cifar_macro_final"
  space, _ = spaces.read(config, {})
  source = type("Source", (), {"facts": {"classes": 10}})
  network = recipes.network(
      config, space.network, source, settings.Run(epochs=1)
  )
  sizes = []
  for bit in (0, 1):  # no skip, and all of them
    layers = [n for layer in range(space.layers) for n in (0, *[bit] * layer)]
    size = space.size(space.unflatten(layers), network, (32, 32, 3))
    sizes.append(int(size.params))
  assert sizes == [9_293_472, 15_763_104], sizes
  return "{:,} without a skip, {:,} with all".format(*sizes)


@row(
    "more than one command in a shell loop, Ctrl-C",
    "the process dies of the signal itself, after saving, so that the loop"
    " ends",
)
def loop() -> str:
  run = runs.interrupted()
  assert run.ended.code == -signal.SIGINT, run.ended
  assert "started 2" not in run.ended.out, "The loop went on."
  saved = sorted(int(e.name) for e in (run.path / "checkpoints").iterdir())
  assert saved[-1] > 0 and not (run.path / "result.json").exists()
  [line] = [li for li in run.ended.out.splitlines() if "everything is" in li]
  record = json.loads((run.path / "config.json").read_text())
  assert record["epochs"] == runs.EPOCHS
  return (
      f"`{line}`; the checkpoint of step {saved[-1]} is there, the loop ended"
      " by SIGINT with its first command"
  )
