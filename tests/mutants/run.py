"""Break the code on purpose, a little and in many places: does a test fail each time?

    python -m tests.mutants.run [PART ...] [--only PATTERN ... | --sample N [--seed S]]
                                [--children N] [--folder DIR]

A part (parts.py; all of them if none is given) is some modules and the tests that are to notice.
mutmut writes the mutants and runs the tests that meet them, in a copy of the sources, so that
nothing here changes. Exit code 1 if a mutant survives that is not among the known ones of
survivors.md. Kernels that are compiled: kernels.py.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

from .kernels import drawn
from .parts import PARTS, Part
from .survivors import Mutant, joined, known

ROOT = Path(__file__).parents[2]
KILLED = ("killed", "timeout")
HEADS = ("---", "+++")
ONE = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_DISABLE_JIT")


def copy_sources(folder: Path, part: Part) -> None:
    """Sources and tests, with the link to kernels/ followed: mutmut does not follow it; and the
    part's modules and tests beside what pyproject.toml says to mutmut."""
    leave_out = shutil.ignore_patterns("__pycache__")
    for name in ("minireptile", "tests", "bench", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave_out, dirs_exist_ok=True)
    for name in ("minireptile", "bench"):
        for path in (folder / name).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            path.write_text(without_guards(source), encoding="utf-8")
    text, section = (ROOT / "pyproject.toml").read_text(encoding="utf-8"), "[tool.mutmut]"
    before, found, behind = text.partition(section)
    assert found
    lists = {"only_mutate": part.modules, "pytest_add_cli_args_test_selection": part.tests}
    ours = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lists.items())
    ours += "debug = true\n"  # it says which test fails before there is a mutant
    heading, rest = behind.split("\n", 1)
    text = f"{before}{section}{heading}\n{ours}{rest}"
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def without_guards(source: str) -> str:
    """What no test can miss here: `strict=` of a `zip` looks for mistakes of ours in the lengths,
    and there are none to find in what is right; an encoding is for machines whose own is another.
    """
    guards = r',\s*(strict=(True|False)|encoding="utf-8")|encoding="utf-8"(,\s*)?'
    return re.sub(guards, "", source)


def mutmut(folder: Path, *arguments: str) -> str:
    # Not `python -m mutmut`, which would load it twice.
    return in_folder(folder, str(Path(sys.executable).with_name("mutmut")), *arguments)


def in_folder(folder: Path, *command: str) -> str:
    # One thread: the products are tiny. Nothing is compiled: kernels.py does that.
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **dict.fromkeys(ONE, "1"), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        failed = [line for line in done.stdout.splitlines() if line[:4] in ("FAIL", "ERRO", "E   ")]
        said = "\n".join(failed[-50:]) or done.stdout[-3000:]
        sys.exit(f"{said}\n{done.stderr[-3000:]}\nmutmut failed: does `make test` pass?")
    return done.stdout


def statuses(folder: Path, patterns: list[str]) -> dict[str, str]:
    """{mutant: "killed", "survived", ...}, by mutmut's names for its mutants."""
    lines = mutmut(folder, "results", "--all", "true").splitlines()
    found = dict(line.strip().rsplit(": ", 1) for line in lines if "__mutmut_" in line)
    return {name: s for name, s in found.items() if any(fnmatch(name, p) for p in patterns)}


def sample(folder: Path, count: int, seed: int) -> list[str]:
    """Names of so many mutants, drawn from all modules alike; `mutmut run` finds them written."""
    write = "import mutmut.__main__ as m; m.copy_src_dir(); m.create_mutants(1)"
    in_folder(folder, sys.executable, "-c", write)
    per_module = defaultdict(list)
    for name in statuses(folder, ["*"]):
        per_module[name.rpartition(".")[0]].append(name)
    return [name for _, name in drawn(per_module, count, seed)]


def function_of(name: str) -> str:
    """Where a mutant is, as survivors.md says it."""
    module, mangled = name.rpartition("__mutmut_")[0].rsplit(".", 1)
    return f"{module}.{mangled.removeprefix('x').removeprefix('_').strip('ǁ').replace('ǁ', '.')}"


def look_at(folder: Path, name: str) -> Mutant:
    """What a mutant changed."""
    diff = [line for line in mutmut(folder, "show", name).splitlines() if line[:3] not in HEADS]
    old, new = (joined(line[1:] for line in diff if line[:1] == sign) for sign in "-+")
    return Mutant(function_of(name), old, new)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; or all")
    parser.add_argument("--only", nargs="+", default=[], metavar="PATTERN", help="mutants' names")
    parser.add_argument("--sample", type=int, metavar="N", help="how many mutants of a part")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--children", type=int, default=1, help="processes at a time")
    parser.add_argument("--folder", type=Path, help="work here and leave it, for `mutmut browse`")
    given = parser.parse_args()
    unknown = [name for name in given.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    if given.only and given.sample:
        parser.error("--only names the mutants, --sample draws them: choose one")
    fine = [run(name, given) for name in given.parts or PARTS]
    return 0 if all(fine) else 1


def run(name: str, given: argparse.Namespace) -> bool:
    """Run a part; whether nothing unknown survived."""
    with TemporaryDirectory(prefix="mutants-") as temporary:
        folder = (given.folder or Path(temporary)) / name
        folder.mkdir(parents=True, exist_ok=True)
        copy_sources(folder, PARTS[name])
        print(f"\n{name}: one clean run, then one for each mutant", flush=True)
        chosen = sample(folder, given.sample, given.seed) if given.sample else given.only
        mutmut(folder, "run", "--max-children", str(given.children), *chosen)
        found = statuses(folder, chosen or ["*"])
        expected = known()
        # Which entries of survivors.md are among some of the mutants can only be seen there.
        functions = {m.function for m in expected} if chosen else set()
        mutants = {
            mutant: look_at(folder, mutant)
            for mutant, status in found.items()
            if status not in KILLED or function_of(mutant) in functions
        }
    alive = {mutant: m for mutant, m in mutants.items() if found[mutant] not in KILLED}
    unknown = {mutant: m for mutant, m in alive.items() if m not in expected}
    print_scores(found, set(alive) - set(unknown))
    for mutant, status in found.items():
        if status == "timeout":
            print(f"out of time: {mutant}")
    for mutant, m in unknown.items():
        print(f"\n{mutant}: {found[mutant]}\n{m}")
    print(f"\n{len(alive)} of {len(found)} mutants survive, {len(unknown)} of them unknown")
    modules = {mutant.rpartition(".")[0] for mutant in found}
    possible = set(mutants.values()) if chosen else expected
    for gone in sorted(expected & possible - set(alive.values())):
        if any(gone.function.startswith(f"{module}.") for module in modules):
            print(f"\nin survivors.md, yet not alive:\n{gone}")
    return bool(found) and not unknown


def print_scores(found: dict[str, str], expected: set[str]) -> None:
    """A line for each module: without the known survivors, what part is killed."""
    scores: dict[str, Counter[str]] = defaultdict(Counter)
    for name, status in found.items():
        scores[name.rpartition(".")[0]]["known" if name in expected else status] += 1
    print(f"{'':46}{'mutants':>8}{'killed':>8}{'known':>8}")
    for module, counts in [*sorted(scores.items()), ("all", sum(scores.values(), Counter()))]:
        killed, decided = sum(counts[s] for s in KILLED), counts.total() - counts["known"]
        numbers = f"{counts.total():8}{killed:8}{counts['known']:8}"
        print(f"{module:46}{numbers}{100 * killed / max(decided, 1):9.1f} %")


if __name__ == "__main__":
    sys.exit(main())
