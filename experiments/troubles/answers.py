"""Troubles whose answers said nothing."""

import functools
import json
import resource
import sys

import numpy as np
from PIL import Image

from enas_jax import archfile, data
from enas_jax.data import telling
from enas_jax.errors import ConfigError
from enas_jax.spaces.micro import Micro
from enas_jax.spaces.recurrent import Recurrent
from experiments.troubles import house, lost, runs
from experiments.troubles.house import row

TITLE = "Answers that say nothing"


def _told(call, *args, **kwargs) -> str:
  """Returns the one line in which a call is refused."""
  try:
    call(*args, **kwargs)
  except ConfigError as error:
    assert "\n" not in str(error), error
    return f"`{error}`"
  raise AssertionError("It was taken.")


def _read_in_little(place) -> None:
  """Reads a folder of pictures when 150 MB of addresses are left."""
  with open("/proc/self/statm", encoding="utf-8") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
  most = taken + 150_000_000
  resource.setrlimit(resource.RLIMIT_AS, (most, most))
  try:
    data.load("folder", path=str(place), size=8).train()
  except ConfigError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


@row(
    "a 1-bit PNG of 20,000 x 9,000 (22 kB)",
    "read and shrunk where memory allows, else one line with the file",
)
def bomb() -> str:
  place = house.pictures(house.folder(), {"a": 1, "b": 1})
  for path in (place / "train").rglob("*.png"):
    Image.new("1", (20_000, 9_000), 1).save(path)
  size = path.stat().st_size
  images = data.load("folder", path=str(place), size=8).train().images
  assert images.shape == (2, 8, 8, 1) and (images == 255).all()
  ended = house.forked(functools.partial(_read_in_little, place))
  line = house.refused(ended)
  assert str(path.parent.parent) in line
  return f"{size / 1000:.0f} kB: read as 8 x 8, all white; in 150 MB: {line}"


@row(
    "`data.size=20000`",
    "one line with the gigabytes, before decoding",
)
def gigabytes() -> str:
  place = house.pictures(house.folder(), {"a": 60, "b": 60})
  flags = runs.trains(
      house.folder() / "run",
      "--config.data.name=folder",
      f"--config.data.path={place}",
      "--config.data.size=20000",
  )
  line = house.refused(house.command(*flags))
  assert " GB " in line
  return line


@row(
    "Tiny-ImageNet's tree (`train/n01/images/*.JPEG`, flat `val/`)",
    "one line that names the extra level and the missing `test`, or it is read",
)
def tiny_imagenet() -> str:
  place, told = house.folder(), []
  for name in ("n01", "n02"):
    inner = place / "train" / name / "images"
    inner.mkdir(parents=True)
    for n in range(3):
      house.picture(n).save(inner / f"{name}_{n}.JPEG")
    (place / "train" / name / f"{name}_boxes.txt").write_text("0 0 8 8\n")
  (place / "val" / "images").mkdir(parents=True)
  house.picture(0).save(place / "val" / "images" / "val_0.JPEG")
  load = functools.partial(data.load, "folder", path=str(place))
  missing = _told(load)
  (place / "val").rename(place / "test")
  flat = _told(load)
  for name in ("n01", "n02"):
    inner = place / "test" / name / "images"
    inner.mkdir(parents=True)
    house.picture(9).save(inner / f"{name}_9.JPEG")
  (place / "test" / "images" / "val_0.JPEG").unlink()
  (place / "test" / "images").rmdir()
  with telling.heard(told.append):
    count = len(load().train().images)
  assert count == 6, told
  return (
      f"the extra level is read ({count} pictures); without `test`: {missing};"
      f" flat: {flat}"
  )


@row(
    "words of validation that training lacks, in one's own corpus",
    "`data.vocabulary=10000` keeps the most frequent and maps the rest;"
    " `data.unit=character` for texts without words; line ends, BOM, `.tokens`"
    " names accepted",
)
def lacking() -> str:
  place = house.texts(
      house.folder(), "the cat sat\r\nthe cat\r\n", "the dog\n", "a cat\n"
  )
  for file in [*place.iterdir()]:
    file.rename(place / f"wiki.{file.stem}.tokens")
  load = functools.partial(data.load, "ptb", path=str(place))
  line = _told(lambda: load().valid())
  told = []
  with telling.heard(told.append):
    source = load(vocabulary=10_000)
    numbers = source.valid().tolist()
  assert source.words.vocabulary[numbers[1]] == "<unk>"
  signs = load(unit="character", vocabulary=99)
  assert len(signs.valid()) == len("the dog\n")
  return (
      f"without an option {line}; with `vocabulary=10000` `{told[-1]}`;"
      f" `unit=character`: {signs.vocabulary} signs"
  )


_PRINTED = """\
[0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1]
[1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1]
"""


@row(
    "the official code's printed architectures, saved to a file",
    "a file of integers and brackets reads as the text does; another word in it"
    " is named with its line",
)
def printed() -> str:
  file, space = house.folder() / "printed.txt", Micro()
  file.write_text(_PRINTED)
  arch = archfile.parse("config.arch", str(file), space)
  same = archfile.parse("config.arch", _PRINTED, space)
  assert space.flatten(arch) == space.flatten(same)
  file.write_text(_PRINTED.replace("[1 0", "[reduce 0"))
  line = _told(archfile.parse, "config.arch", str(file), space)
  assert "line 2: 'reduce'" in line
  return f"read as the text is; {line}"


@row(
    "a genotype of DARTS, JSON of NNI, `64:64:64:64:64`, `12804`",
    "one line that lists the forms that this space reads",
)
def foreign() -> str:
  file, lines = house.folder() / "nni.json", []
  file.write_text(json.dumps({"op_1": {"_value": "conv", "_idx": 0}}))
  for text in (
      "Genotype(normal=[('sep_conv_3x3', 1)], normal_concat=range(2, 6))",
      str(file),
      "64:64:64:64:64",
      "12804",
  ):
    for space in (Micro(), Recurrent()):
      line = _told(archfile.parse, "config.arch", text, space)
      assert "This space reads a preset (" in line, line
    ended = house.command(
        "--config=cifar_micro_final:smoke",
        f"--config.arch={text}",
        f"--workdir={house.folder() / 'run'}",
    )
    lines.append(house.refused(ended))
    assert "This space reads" in lines[-1], lines[-1]
  return f"each so, as {lines[-1]}"


@row("JSON nested 100,000 deep", "one line")
def nested() -> str:
  file = house.folder() / "arch.json"
  file.write_text('{"a":' * 100_000)
  ended = house.command(
      "--config=cifar_micro_final:smoke",
      f"--config.arch={file}",
      f"--workdir={house.folder() / 'run'}",
  )
  return house.refused(ended)


@row("60,000 pictures", "what is read, how many, how long")
def sixty_thousand() -> str:
  place, told = house.folder(), []
  lost.many(place, 60_000)
  with telling.heard(told.append):
    source = data.load("folder", path=str(place))
    labels = source.train().labels
  assert np.bincount(labels).sum() == 60_000
  meanwhile = [li for li in told if "left." in li]
  [end] = [li for li in told if li.startswith("Read 60,000 pictures")]
  assert meanwhile
  return f"{len(meanwhile)} lines meanwhile, as `{meanwhile[-1]}`; `{end}`"
