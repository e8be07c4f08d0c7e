"""Runs every row of the tables, and prints what happens now.

  python -m experiments.troubles [WORD...]

Each row is a trouble that real users met: what they have, what is right, and
what happens now, with the line that is told, the exit code or the value that
was measured. With words, only the rows run whose functions are so named. It
ends with code 1 where a row is not as it should be. The rows that mount a small
file system need root.
"""

import os
import signal
import sys
import time
import traceback

from absl import logging

from experiments.troubles import answers, disks, house, lost, silent

TABLES = (silent, lost, answers, disks)


def tried(row: house.Row) -> tuple[bool, str]:
  """Returns whether a row is as it should be, and what happens now."""
  try:
    return True, house.short(row.show())
  except house.Skipped as error:
    return True, f"*not tried: {error}*"
  except Exception as error:
    traceback.print_exc()
    return False, house.short(f"**WRONG**: {error}")


def main(words: list[str]) -> int:
  """Prints the tables; returns the exit code."""
  logging.set_verbosity(logging.WARNING)
  begun, wrong, count = time.monotonic(), 0, 0
  for table in TABLES:
    print(f"\n### {table.TITLE}\n\n| what a user has | right | now |")
    print("|---|---|---|", flush=True)
    for row in house.rows(table):
      if words and row.show.__name__ not in words:
        continue
      right, now = tried(row)
      count, wrong = count + 1, wrong + (not right)
      cells = (text.replace("|", "\\|") for text in (row.has, row.right, now))
      print(f"| {' | '.join(' '.join(text.split()) for text in cells)} |",
            flush=True)
  took = time.monotonic() - begun
  print(f"\n{count} rows in {took:.0f} s, {wrong} not as they should be.")
  return int(wrong > 0)


if __name__ == "__main__":
  # Disks are taken away also then.
  signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
  os.environ.pop("ENAS_JAX_STARTED", None)
  sys.exit(main(sys.argv[1:]))
