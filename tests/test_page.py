"""Pages of runs, made from files that a test writes: no run is needed."""

from html.parser import HTMLParser
import itertools
import json
import os
import re

import pytest
from test_main import answers

from enas_jax.errors import ConfigError
from enas_jax.report import drawing, files, page, plot, several
from enas_jax.types import Edge

EPOCHS = 5
CONFIG = {
    "epochs": EPOCHS,
    "seed": 3,
    "space": {"name": "micro", "nodes": 2},
    "strategy": {"name": "reinforce", "archs": 4},
    "data": {"name": "digits", "path": None},
    "child": {"lr": 0.1},
}
ARCH = {
    "metric": "accuracy",
    "score": 0.5,
    "scores": {},
    "finalists": [
        {
            "source": "neighbour",
            "accuracy": 0.5,
            "encoding": [1, 0],
            "number": 1,
            "trained": 0.9,
            "params": 1234,
            "seconds": 5.0,
        },
        {
            "source": "policy",
            "accuracy": 0.45,
            "encoding": [1, 1],
            "number": 0,
            "trained": None,
            "params": 2345,
            "seconds": 6.0,
        },
    ],
    "benchmark": {
        "data": "cifar10",
        "metric": "accuracy",
        "searched_on": "digits",
        "same_data": False,
        "known": 9,
        "architectures": 9,
        "test_accuracy": 91.5,
        "rank": 2,
        "regret": 0.5,
        "mean_of_policy": 90.0,
        "mean_of_random": 80.0,
        "ranking": None,
    },
    "worth": {
        "equivalent": 50.0,
        "cost": 10.0,
        "gain": 5.0,
        "random_alone": 84.0,
        "percentile": 91.0,
    },
    "params": 1234,
    "encoding": [1, 0],
    "readable": ["normal 2 = sep_conv_3x3(1) + identity(0)"],
    "cost": {
        "child_steps": 50,
        "rewards": 20,
        "scored": 6,
        "finalists": 2,
        "seconds": 61.0,
        "flops": 1e9,
        "flops_each": {
            "child_step": 1e6,
            "reward": 1e5,
            "scoring": 2e5,
            "finalist": 1e8,
        },
        "alone": {
            "recipe": "the search's own",
            "steps": 10,
            "candidates": 26,
            "times": 7.5,
            "seconds_estimated": 500.0,
        },
    },
}
GRAPHS = {
    "normal": [Edge("2", "1", "sep_conv_3x3"), Edge("2", "0", "identity")]
}
EVERY = [
    "Curves",
    "The architecture",
    "The policy against random",
    "Finalists",
    "Retrained from scratch",
    "The truth by the benchmark",
    "Cost",
    "What to do next",
    "Config",
]


def as_lines(values):
  return "".join(json.dumps(each) + "\n" for each in values)


def epochs(count=EPOCHS):
  for n in range(1, count + 1):
    yield {
        "epoch": n,
        "child/loss": 2 - n / 10,
        "child/accuracy": n / 10,
        "child/lr": 0.1,
        "seconds": 10.0,
        **(
            {
                "controller/reward": n / 20,
                "controller/reward_best": n / 15,
                "controller/entropy": 3.0,
                "controller/skip_rate": 0.4,
            }
            if n > 1
            else {}
        ),
    }


def training(path, accuracy):
  """Writes the folder of a training."""
  path.mkdir(parents=True)
  config = {"epochs": 2, "arch": "1 0", "data": {"name": "digits"}}
  (path / "config.json").write_text(json.dumps(config))
  seen = {"test/accuracy": accuracy, "valid/accuracy": 0.9}
  lines = [{"epoch": 1, "child/loss": 1.0, "seconds": 3.0, **seen}]
  (path / "metrics.jsonl").write_text(as_lines(lines))
  result = {**seen, "test/loss": 0.1, "parameters": 5432, "encoding": [1, 0]}
  (path / "result.json").write_text(json.dumps(result))
  drawing.write(path, GRAPHS)
  return path


def search(path):
  """Writes the folder of a search that has all that one can have."""
  path.mkdir(parents=True)
  (path / "config.json").write_text(json.dumps(CONFIG))
  (path / "metrics.jsonl").write_text(as_lines(epochs()))
  scored = [
      {"source": source, "accuracy": score, "seconds": 1.0, "encoding": [0]}
      for source, scores in (
          ("policy", [0.3, 0.4, 0.5]),
          ("random", [0.1, 0.2, 0.3]),
      )
      for score in scores
  ]
  (path / "derive.jsonl").write_text(as_lines(scored))
  (path / "arch.json").write_text(json.dumps(ARCH))
  drawing.write(path, GRAPHS)
  training(path / "finalists" / "1", 0.9)
  training(path / "retrain" / "random_0", 0.92)
  training(path / "retrain" / "derived", 0.97)
  (path / "retrain" / "derived" / "report.html").write_text("")
  test = {"derived": 0.97, "random": [0.92]}
  result = {**ARCH, "test": test}
  (path / "result.json").write_text(json.dumps(result))
  return path


_VOID = ("meta", "link")


class Page(HTMLParser):
  """Reads a page and holds it to what every page has to keep."""

  def __init__(self, text):
    super().__init__()
    self.text = text
    self.open, self.tags, self.words, self.heads = [], [], [], []
    self.feed(text)
    self.close()
    assert not self.open
    self._check()

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in _VOID:
      self.open.append(tag)
    if re.fullmatch(r"h\d", tag):
      self.heads.append([int(tag[1]), ""])

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if "style" not in self.open:
      self.words.append(data)
    if self.heads and re.fullmatch(r"h\d", self.open[-1] if self.open else ""):
      self.heads[-1][1] += data

  def _check(self):
    ids = [found["id"] for _, found in self.tags if "id" in found]
    assert len({*ids}) == len(ids)
    levels = [level for level, _ in self.heads]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    for tag, found in self.tags:
      assert tag not in ("script", "iframe", "object", "foreignObject", "img")
      assert not any(name.startswith("on") for name in found)
      for name in ("aria-labelledby", "href"):
        if found.get(name, "").startswith("#") or name == "aria-labelledby":
          assert found.get(name, ids[0]).removeprefix("#") in ids
      if tag == "svg":  # a picture has words, or is no picture
        hidden = found.get("aria-hidden") == "true"
        assert hidden or (found["role"] == "img" and found["aria-label"])
      if tag == "th":
        assert found["scope"] in ("col", "row")
    counts = [[t for t, _ in self.tags].count(n) for n in ("table", "caption")]
    assert counts[0] == counts[1]
    # Nothing is asked for from elsewhere, and no script would be run.
    assert "://" not in self.text
    assert "default-src 'none'" in self.text

  def titles(self, level=2):
    return [words for n, words in self.heads if n == level]

  def labels(self):
    return [
        found["aria-label"]
        for tag, found in self.tags
        if tag == "svg" and "role" in found
    ]

  def said(self):
    return " ".join(" ".join(self.words).split())


def of(path):
  """Returns the page of the run in a folder."""
  return Page(page.html(files.read(path), path))


def test_the_page_of_a_search_has_every_part(tmp_path):
  path = search(tmp_path / "run")
  found = of(path)
  assert found.titles(1) == ["Search: run"]
  assert found.titles() == EVERY
  curves = ["Loss", "Accuracy", "Reward", "Entropy", "Skips"]
  assert found.titles(3) == [*curves, "Candidates by accuracy"]
  assert "cannot be shown" not in found.text
  said = found.said()
  for words in (
      "State finished",
      "Time of the search 0:01:07",
      "Test accuracy, derived 0.9700",
      "Test accuracy, random 0.9200 (mean of 1)",
      "Test accuracy in the benchmark 91.50%",
      "is worth 50 of random trainings alone",
      "normal 2 = sep_conv_3x3(1) + identity(0)",
      "policy 3 0.5000 0.4000 0.0816",
      "policy's candidates are better than random ones by 0.2000",
      "1 derived neighbour 0.5000 0.9000 1,234 0:00:05",
      "0 policy 0.4500 diverged 2,345 0:00:06",
      "derived 0.9700 5,432 0:00:03 random_0 0.9200",
      "Derived 0.9700; 1 random: mean 0.9200",
      "this search is on digits",
      "rank 2 of 9",
      "child steps 50 1.000e+06",
      "finalists trained 2 1.000e+08",
      f"enas_jax.predict --model={path}/retrain/derived picture.png",
      "Show all 9 values",
      "child.lr 0.1",
  ):
    assert words in said, words
  links = [tag["href"] for name, tag in found.tags if name == "a"]
  assert "retrain/derived/report.html" in links
  assert "retrain/random_0/report.html" not in links  # which has no page


def test_curves_and_their_numbers_are_those_of_the_file(tmp_path):
  found = of(search(tmp_path / "run"))
  loss, _, reward, *_ = found.labels()
  assert loss == (
      "Loss by epoch. training batches from 1.9 at 1 to 1.5 at 5, least 1.5 at"
      " 5, most 1.9 at 1."
  )
  # Nothing is rewarded in the first epoch.
  assert "mean of the epoch from 0.1 at 2 to 0.25 at 5" in reward
  assert "training batches 1.9 (1) 1.5 (5) 1.5 (5) 1.9 (1)" in found.said()
  assert "epoch 3: mean of the epoch 0.15, best of a step 0.2" in found.said()
  svg = found.text.partition("aria-label=\"Loss")[2].partition("</svg>")[0]
  [line] = re.findall(r'class="line c0 d0" d="M(.*?)"', svg)
  places = [[float(n) for n in at.split()] for at in line.split("L")]
  assert len(places) == EPOCHS
  # Evenly to the right, and down as the loss is.
  steps = [
      (b[0] - a[0], b[1] - a[1])
      for a, b in itertools.pairwise(places)
  ]
  assert all(abs(x - steps[0][0]) < 0.2 for x, _ in steps)
  assert all(y > 0 for _, y in steps)


def test_a_histogram_counts_every_candidate_once(tmp_path):
  path = search(tmp_path / "run")
  far = {"source": "random", "accuracy": -50.0}
  with (path / "derive.jsonl").open("a") as file:
    file.write(as_lines([far, {"source": "random", "accuracy": None}]))
  found = of(path)
  bars = re.findall(r"<title>(policy|random): (\d+) from", found.text)
  counted = {"policy": 0, "random": 0}
  for source, count in bars:
    counted[source] += int(count)
  assert counted == {"policy": 3, "random": 4}
  assert "1 far outside are counted in the outermost bars" in found.said()


def test_a_curve_of_many_epochs_keeps_its_ends():
  points = [(n, 2 * n) for n in range(1, 10_001)]
  svg = plot.curves("", [plot.Line("a", points)])
  assert len(svg) < 100_000
  assert "<title>epoch 10,000: a 20,000</title>" in svg


@pytest.mark.parametrize(
    "low, high", [(0, 1), (-3, 7e5), (0.123, 0.124), (1e-9, 2e-9), (5, 5.5)]
)
def test_ticks_are_few_and_within(low, high):
  found = plot.ticks(low, high)
  assert 2 <= len(found) <= 6
  room = 1e-6 * (high - low)
  assert all(low - room <= each <= high + room for each in found)


def test_a_constant_number_is_a_level_line():
  svg = plot.curves("", [plot.Line("a", [(1, 3.0), (2, 3.0)])])
  [line] = re.findall(r'class="line c0 d0" d="M(.*?)"', svg)
  (_, left), (_, right) = (at.split() for at in line.split("L"))
  assert left == right


EVIL = '"><script>alert(1)</script><b a=\'&amp;'


def test_what_files_say_is_text(tmp_path):
  path = search(tmp_path / "a<b>&")
  config = {**CONFIG, "space": {"name": EVIL, EVIL: EVIL}, EVIL: "\ud800"}
  (path / "config.json").write_text(json.dumps(config))
  arch = {**ARCH, "readable": [EVIL], "encoding": [EVIL], "metric": EVIL}
  (path / "arch.json").write_text(json.dumps(arch))
  with (path / "metrics.jsonl").open("a") as file:
    file.write(as_lines([{"epoch": 6, f"child/{EVIL}": 1.0}]))
  (path / "retrain" / EVIL.replace("/", "")).mkdir()
  (path / "retrain" / EVIL.replace("/", "") / "result.json").write_text(
      json.dumps({"diverged": EVIL, "epoch": EVIL})
  )
  found = of(path)
  assert r"\ud800" in found.text
  assert "<script>" not in found.text and "<b a" not in found.text
  assert EVIL in found.said()
  assert found.titles(1) == ["Search: a<b>&"]
  other = search(tmp_path / "c<d>&")
  both = several.html([*map(files.read, (path, other))], tmp_path)
  assert "a<b>" not in both and "c<d>" not in both
  assert "c<d>&" in Page(both).said()


def test_of_a_drawing_only_what_ours_have_is_shown(tmp_path):
  path = search(tmp_path / "run")
  svg = (path / "arch.svg").read_text()
  shown = drawing.inline(svg, "words", "tip")
  assert shown.count("<rect") == svg.count("<rect")
  assert shown.count("<path") == svg.count("<path")
  assert shown.count("url(#tip)") == svg.count("url(#tip)") > 0
  evil = svg.replace(
      "</svg>",
      '<script>alert(1)</script><a href="http://x.y"><text>a</text></a>'
      '<rect onclick="alert(1)" fill="url(http://x.y)" style="b:c"/></svg>',
  )
  (path / "arch.svg").write_text(evil)
  text = of(path).text  # which checks it, too
  assert "alert" not in text and "x.y" not in text and "b:c" not in text
  for broken in ("<svg", "<!DOCTYPE svg><svg/>", ""):
    (path / "arch.svg").write_text(broken)
    assert "rect" not in of(path).text.partition("The architecture")[2][:200]


def test_a_broken_line_is_a_line_and_a_cut_one_is_nothing(tmp_path):
  path = search(tmp_path / "run")
  whole = of(path)
  lines = (path / "metrics.jsonl").read_text().splitlines()
  text = "\n".join([*lines[:2], "{", "[1]", *lines[2:], '{"epoch": 6, "chi'])
  (path / "metrics.jsonl").write_text(text)
  found = of(path)
  assert found.labels() == whole.labels()
  note = "metrics.jsonl: line 3 cannot be read and is left out, and 1 more."
  assert note in found.said() and note not in whole.said()


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\0", b"[" * 100_000])
@pytest.mark.parametrize(
    "name", ["config.json", "arch.json", "result.json", "derive.jsonl"]
)
def test_a_broken_file_is_a_line(tmp_path, name, content):
  path = search(tmp_path / "run")
  (path / name).write_bytes(content + b"\n")
  found = of(path)
  assert found.said().count(name) >= 1
  assert "Curves" in found.titles()
  assert "cannot be shown" not in found.text


def test_a_part_of_another_form_spares_the_others(tmp_path):
  path = search(tmp_path / "run")
  arch = {**ARCH, "cost": 3, "benchmark": {"known": 1}, "finalists": [{}]}
  (path / "arch.json").write_text(json.dumps(arch))
  found = of(path)
  assert found.titles() == EVERY
  assert found.said().count("This part cannot be shown") == 3


@pytest.mark.parametrize("kept", [0, 2])
def test_a_run_at_work_has_a_page(tmp_path, kept):
  path = tmp_path / "run"
  path.mkdir()
  (path / "config.json").write_text(json.dumps(CONFIG))
  if kept:
    (path / "metrics.jsonl").write_text(as_lines(epochs(kept)))
  found = of(path)
  said = found.said()
  assert f"not finished: epoch {kept} of {EPOCHS}" in said
  assert "No candidate has been scored yet." in said
  assert ("No epoch has ended yet." in said) == (not kept)
  assert ("Time of the search" in said) == bool(kept)
  assert f"python -m enas_jax.report {path}" in said
  assert "cannot be shown" not in said


def test_the_page_of_a_training_has_what_one_has(tmp_path):
  path = training(tmp_path / "retrain" / "derived", 0.97)
  found = of(path)
  assert found.titles(1) == [f"Training: {tmp_path.name}/retrain/derived"]
  titles = ["Curves", "The architecture", "What to do next", "Config"]
  assert found.titles() == titles
  said = found.said()
  assert "Test accuracy 0.9700 Valid accuracy 0.9000 Parameters 5,432" in said
  assert f"enas_jax.export --model={path} --out=program" in said
  (path / "result.json").write_text('{"diverged": "at step 3"}')
  assert "State diverged" in of(path).said() and "at step 3" in of(path).said()


def test_a_search_that_retrains_nothing_names_the_command(tmp_path):
  path = search(tmp_path / "run")
  arguments = ["--config=micro_final.py", "--config.seed=3"]
  result = {**ARCH, "retrain": arguments}
  (path / "result.json").write_text(json.dumps(result))
  assert (
      "python -m enas_jax.main --config=micro_final.py"
      f" --config.arch={path}/arch.json --config.seed=3"
      f" --workdir={path}_final"
  ) in of(path).said()


def test_several_runs_stand_beside_each_other(tmp_path):
  first, second = search(tmp_path / "first"), search(tmp_path / "second")
  config = {**CONFIG, "seed": 4, "child": {"lr": 0.2, "clip": 1.0}}
  (second / "config.json").write_text(json.dumps(config))
  (second / "metrics.jsonl").write_text(as_lines(epochs(3)))
  (second / "result.json").unlink()
  (first / "report.html").write_text("")
  runs = [files.read(path) for path in (first, second)]
  found = Page(several.html(runs, tmp_path / "pages"))
  assert found.titles(1) == ["2 runs beside each other"]
  assert found.titles() == [
      "Results",
      "Where their configs differ",
      "Curves",
      "The policy against random",
      "The architectures",
  ]
  said = found.said()
  assert "first finished 0:01:07" in said
  assert "second not finished: the architecture is derived" in said
  assert "seed 3 4" in said
  assert "child.lr 0.1 0.2" in said
  assert "child.clip absent 1.0" in said
  assert "space.name" not in said
  assert "second accuracy random 3 0.3000" in said
  assert "first from 1.9 at 1 to 1.5 at 5" in found.labels()[0]
  assert "second from 1.9 at 1 to 1.7 at 3" in found.labels()[0]
  links = [tag["href"] for name, tag in found.tags if name == "a"]
  assert "../first/report.html" in links
  assert "cannot be shown" not in found.text


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
  paths = [search(tmp_path / name / "run") for name in "ab"]
  said = Page(several.html([*map(files.read, paths)], tmp_path)).said()
  assert "They have the same config." in said
  assert all(f"{path} finished" in said for path in paths)


def test_a_page_is_left_however_a_run_ends(tmp_path, monkeypatch):
  path, told = search(tmp_path / "run"), []
  file = path / "report.html"
  for error in (None, KeyboardInterrupt(), RuntimeError()):
    try:
      with page.left(path, told.append):
        if error:
          raise error
    except (KeyboardInterrupt, RuntimeError) as raised:
      assert raised is error
    Page(file.read_text())
    file.unlink()
  # A refused run changes nothing.
  with pytest.raises(ConfigError), page.left(path, told.append):
    raise ConfigError("--workdir", "is another's.")
  assert not file.exists() and not told
  # A page that cannot be made is a line, and an older one stays.
  file.write_text("older")

  def broken(run, at):
    raise ValueError("no\nway")

  monkeypatch.setattr(page, "html", broken)
  with page.left(path, told.append):
    pass
  line = "report.html could not be written (ValueError: no way)."
  assert told == [line]
  with pytest.raises(RuntimeError), page.left(path, told.append):
    raise RuntimeError
  assert told == [line]  # the run tells why it ended
  assert file.read_text() == "older"


def test_the_command_writes_a_page_or_says_why_not(tmp_path):
  run, other = search(tmp_path / "run"), search(tmp_path / "other")
  (tmp_path / "empty").mkdir()
  (tmp_path / "cases").mkdir()
  one, two, empty = map(str, (run, other, tmp_path / "empty"))
  cases = [
      ([], "enas_jax.report: name the folder of a run."),
      (["{}/W"], "/W: there is no such folder."),
      ([empty], "empty: is not the folder of a run"),
      ([one, "--out={}/no/report.html"], "--out: cannot write to "),
      ([one, "--put=x"], "--put: no such flag. Did you mean '--out'?"),
      ([one], ""),
      ([one, "--out={}/one.html"], ""),
      ([one, two, f"{one}/", "--out={}/both.html"], ""),
  ]
  found = answers(cases, str(tmp_path / "cases"), "enas_jax.report.__main__")
  for (args, message), (code, text, left) in zip(cases, found, strict=True):
    assert code == (2 if message else 0), (args, text)
    if message:
      [line] = text.splitlines()
      assert line.startswith("error: ") and message in line
      assert not left
  assert Page((run / "report.html").read_text()).titles() == EVERY
  home = tmp_path / "cases"
  assert os.listdir(home / "6") == ["one.html"]
  assert os.listdir(home / "7") == ["both.html"]
  both = Page((home / "7" / "both.html").read_text())
  assert both.titles(1) == ["2 runs beside each other"]
  links = [tag["href"] for name, tag in both.tags if name == "a"]
  assert "../../run/report.html" in links
