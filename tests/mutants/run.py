"""Break the code on purpose, a little and in many places: does a test fail each time?

    python -m tests.mutants.run ['minireptile.optim.*' ...] [--children N] [--folder DIR]

mutmut writes the mutants and runs the tests that meet them (its settings are in pyproject.toml),
in a copy of the sources, so that nothing here changes. Exit code 1 if a mutant survives that is not
among the known ones of survivors.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SURVIVORS = Path(__file__).with_name("survivors.md")
KILLED = ("killed", "timeout")
HEADS = ("---", "+++")


class Mutant(NamedTuple):
    """A changed line: in which function, what stood there, what stands there now."""

    function: str
    old: str
    new: str


def copy_sources(folder: Path) -> None:
    """Sources and tests, with the link to kernels/ followed: mutmut does not follow it."""
    leave_out = shutil.ignore_patterns("__pycache__")
    for name in ("minireptile", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave_out)
    shutil.copy2(ROOT / "pyproject.toml", folder)


def mutmut(folder: Path, *arguments: str) -> str:
    # Not `python -m mutmut`, which would load it twice. One thread: the products are tiny.
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(
            f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\nmutmut failed: does `make test` pass?"
        )
    return done.stdout


def statuses(folder: Path, patterns: list[str]) -> dict[str, str]:
    """{mutant: "killed", "survived", ...}, by mutmut's names for its mutants."""
    lines = mutmut(folder, "results", "--all", "true").splitlines()
    found = dict(line.strip().rsplit(": ", 1) for line in lines if "__mutmut_" in line)
    return {name: s for name, s in found.items() if any(fnmatch(name, p) for p in patterns)}


def look_at(folder: Path, name: str) -> Mutant:
    """What a mutant changed."""
    diff = [line for line in mutmut(folder, "show", name).splitlines() if line[:3] not in HEADS]
    old, new = (joined(line[1:] for line in diff if line[:1] == sign) for sign in "-+")
    module, mangled = name.rpartition("__mutmut_")[0].rsplit(".", 1)
    function = mangled.removeprefix("x").removeprefix("_").strip("ǁ").replace("ǁ", ".")
    return Mutant(f"{module}.{function}", old, new)


def joined(lines: Iterable[str]) -> str:
    """Lines as one, with single blanks."""
    return " ".join(" ".join(lines).split())


def known() -> set[Mutant]:
    """The diffs in survivors.md."""
    text = SURVIVORS.read_text(encoding="utf-8")
    entries = re.findall(r"^@@ (\S+) @@\n((?:[-+].*\n)+)", text, re.MULTILINE)
    return {
        Mutant(function, *(joined(re.findall(rf"^[{s}](.*)", diff, re.M)) for s in "-+"))
        for function, diff in entries
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="mutants' names; all if none"
    )
    parser.add_argument("--children", type=int, default=1, help="processes at a time")
    parser.add_argument("--folder", type=Path, help="work here and leave it, for `mutmut browse`")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="mutants-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        copy_sources(folder)
        print("one clean run, then one for each mutant: a quarter of an hour and more", flush=True)
        mutmut(folder, "run", "--max-children", str(given.children), *given.patterns)
        found = statuses(folder, given.patterns or ["*"])
        alive = [name for name, status in found.items() if status not in KILLED]
        mutants = {name: look_at(folder, name) for name in alive}
    print_scores(found)
    unknown = {name: m for name, m in mutants.items() if m not in known()}
    for name, mutant in unknown.items():
        print(f"\n{name}: {found[name]}")
        print(f"@@ {mutant.function} @@\n-{mutant.old}\n+{mutant.new}")
    print(f"\n{len(alive)} of {len(found)} mutants survive, {len(unknown)} of them unknown")
    if not given.patterns:
        for mutant in sorted(known() - set(mutants.values())):
            print(f"in survivors.md, yet not alive: {mutant}")
    return 1 if unknown or not found else 0


def print_scores(found: dict[str, str]) -> None:
    scores: dict[str, Counter[str]] = defaultdict(Counter)
    for name, status in found.items():
        scores[name.rpartition(".")[0]][status] += 1
    print(f"{'':46}{'mutants':>8}{'killed':>8}")
    for module, counts in sorted(scores.items()):
        killed = sum(counts[status] for status in KILLED)
        print(f"{module:46}{counts.total():8}{killed:8}{100 * killed / counts.total():9.1f} %")


if __name__ == "__main__":
    sys.exit(main())
