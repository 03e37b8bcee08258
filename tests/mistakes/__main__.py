"""``python -m tests.mistakes [WORD]``: what the kit says to each mistake with WORD in its name."""

from __future__ import annotations

import sys

from minireptile.errors import InputError

from . import MISTAKES

word = sys.argv[1] if len(sys.argv) > 1 else ""
for mistake in MISTAKES:
    if word in mistake.name:
        print(f"# {mistake.name}\n# {mistake.shows}")
        try:
            mistake.make()
        except (AssertionError, InputError) as error:
            print(f"{error}\n")
