"""Makes the HTML of pages: whole files that ask for nothing from elsewhere.

All text is escaped; `Html` marks what is HTML already.
"""

from collections.abc import Iterable, Sequence
from html import escape

from enas_jax.report.style import CSS

# A browser runs no script of such a page and opens no address for it, whatever
# a file of the run holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Html(str):
  """A text that is HTML already."""


def text(value: str) -> str:
  """Returns a text as HTML."""
  return value if isinstance(value, Html) else escape(value)


def document(title: str, body: Iterable[str]) -> str:
  """Returns a whole page with a heading and what follows it."""
  title = escape(title)
  page = "\n".join([
      "<!doctype html>",
      '<html lang="en">',
      "<head>",
      '<meta charset="utf-8">',
      f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
      '<meta name="viewport" content="width=device-width, initial-scale=1">',
      '<meta name="color-scheme" content="light dark">',
      '<link rel="icon" href="data:,">',
      f"<title>{title}</title>",
      f"<style>{CSS}</style>",
      "</head>",
      "<body>",
      "<main>",
      f"<h1>{title}</h1>",
      *body,
      "</main>",
      "</body>",
      "</html>\n",
  ])
  # JSON may hold halves of characters, which no file can.
  return page.encode(errors="backslashreplace").decode()


def section(key: str, title: str, body: str) -> str:
  """Returns a part of a page with a heading; `key` is its address in it."""
  return (
      f'<section id="{key}" aria-labelledby="{key}-title">\n'
      f'<h2 id="{key}-title">{escape(title)}</h2>\n{body}\n</section>'
  )


def contents(sections: dict[str, str]) -> str:
  """Returns links to the parts of a page, by their addresses."""
  links = "\n".join(
      f'<li><a href="#{key}">{escape(title)}</a></li>'
      for key, title in sections.items()
  )
  return f'<nav aria-label="Parts of this page"><ul>\n{links}\n</ul></nav>'


def paragraph(value: str, kind: str = "") -> str:
  """Returns a paragraph; `kind` is "note" of what is not as it should be."""
  found = f' class="{kind}"' if kind else ""
  return f"<p{found}>{text(value)}</p>"


def items(values: Iterable[str], kind: str = "") -> str:
  """Returns a list."""
  found = f' class="{kind}"' if kind else ""
  inner = "".join(f"<li>{text(value)}</li>\n" for value in values)
  return f"<ul{found}>\n{inner}</ul>"


def facts(values: dict[str, str]) -> str:
  """Returns names with what they are; those with "" are left out."""
  inner = "\n".join(
      f"<div><dt>{escape(name)}</dt><dd>{text(value)}</dd></div>"
      for name, value in values.items()
      if value
  )
  return f'<dl class="facts">\n{inner}\n</dl>'


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    words: bool = False,
) -> str:
  """Returns a table that can be moved sideways where it is wide.

  Args:
    caption: What the table shows.
    columns: The heads of the columns.
    rows: The cells; the first of a row says what the row is about.
    words: Whether the cells are words; else they are numbers.
  """
  heads = "".join(f'<th scope="col">{text(name)}</th>' for name in columns)
  inner = "\n".join(
      f'<tr><th scope="row">{text(first)}</th>'
      + "".join(f"<td>{text(cell)}</td>" for cell in rest)
      + "</tr>"
      for first, *rest in rows
  )
  kind = "words" if words else "numbers"
  return wide(
      caption,
      f'<table class="{kind}">\n<caption>{escape(caption)}</caption>\n'
      f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{inner}\n</tbody>\n</table>",
  )


def wide(name: str, body: str) -> str:
  """Returns a part that scrolls sideways by itself, also by the keyboard."""
  label = escape(name)
  return (
      f'<div class="wide" tabindex="0" role="group" aria-label="{label}">\n'
      f"{body}\n</div>"
  )


def folded(title: str, body: str) -> str:
  """Returns a part that a reader opens."""
  return (
      f"<details><summary>{escape(title)}</summary>\n{body}\n</details>"
  )


def figure(title: str, said: str, drawing: str, below: str = "") -> str:
  """Returns a drawing beneath its title and a line that explains it."""
  return (
      f"<figure>\n<figcaption><h3>{escape(title)}</h3>\n"
      f"<p>{text(said)}</p></figcaption>\n{drawing}\n{below}\n</figure>"
  )


def code(value: str) -> str:
  """Returns a command or a few lines of code."""
  return f"<pre><code>{escape(value)}</code></pre>"


def link(value: str, target: str) -> Html:
  """Returns a link to a file beside the page."""
  return Html(f'<a href="{escape(target)}">{escape(value)}</a>')
