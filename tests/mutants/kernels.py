"""Break the kernels on purpose, a little and in many places: does their contract notice each time?

    python -m tests.mutants.kernels [FILE ...] [--backend numba|cuda|numba-cuda]
                                    [--sample N] [--seed S] [--jobs N] [--compiled]

mistakes.py says what is changed in the files of kernels/ (FILE: their names; all of the backend's
if none). Each mutant is run in a copy of the sources, in a process with a time limit:

numba       read by Python, without compiling (interpreted/), but for what is emitted in LLVM's
            words
cuda        *.cu, *.cuh and their launchers, compiled for the CPU under the address sanitizer
numba-cuda  in Numba's simulator

A mutant that ends the process, runs out of time or fails a test is killed; one that the compiler
refuses does not count. Exit code 1 if less than 95 % are killed, those in survivors.md left out.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

from .mistakes import Mistake, mistakes
from .survivors import Mutant, known

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
LEAST = 95  # percent
LONGEST, SLOWER = 600, 5  # seconds of a clean run, and what a mutant may take of one
WORDS = {  # in the names of the tests whose calls use all of a file between them
    "product": "conv2d or dense",
    "reduce": "batchnorm or squared_error or conv2d_backward",
    "device": "relu or squared_error or conv2d or gather or merge",
    "launch": "relu or conv2d or dense or adam",
    "jit": "dense or conv2d or squared_error",
    "sums": "dense_backward or conv2d_backward or add or batchnorm",
    "reptile": "gather or take_row or spread or merge or tick or decay",
}
COMPILED = (  # and not read by Python: what is emitted in LLVM's words, and its tables
    "jit_numba.py", "memory_numba.py", "registers_numba.py", "tiles.py", "vectors_numba.py",
    "winograd_numba.py",
)  # fmt: skip
INTERPRETED = Path(__file__).with_name("interpreted")
NETWORKS = ("adapt", "loss_and_grad", "hvp", "memory")  # whole networks in one call
PARTS = ("batchnorm", "conv2d")  # of which a network calls what nobody else does
NETWORK_TESTS = (  # without a large network, whose layers are in small ones too
    "(adapt_is or single_precision or loss_gradient or take_turns or nan) and not omniglot"
)


class Backend(NamedTuple):
    """Its sources, and how many mutants are a sample of an hour."""

    files: tuple[str, ...]
    sample: int
    environment: dict[str, str]
    needs: tuple[str, ...]  # imported once, before the processes part


def sanitizer() -> dict[str, str]:
    """The environment that puts the address sanitizer before Python."""
    paths = [
        subprocess.check_output(["g++", f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    options = "detect_leaks=0:detect_stack_use_after_return=0"
    # test_contract.py leaves Numba alone where nothing can be compiled.
    return {"LD_PRELOAD": " ".join(paths), "ASAN_OPTIONS": options, "NUMBA_DISABLE_JIT": "1"}


def backend_of(name: str) -> Backend:
    common = ("pytest", "hypothesis", "numpy", "scipy.linalg")
    numba = (*common, "numba", "scipy.linalg.cython_blas", "threadpoolctl", "platformdirs")
    if name == "numba":
        return Backend(("*_numba.py", "tiles.py"), 400, {}, numba)
    if name == "cuda":
        return Backend(("*.cu", "*.cuh", "*_cupy.py"), 120, sanitizer(), common)
    environment = {"NUMBA_ENABLE_CUDASIM": "1"}
    return Backend(("*_cuda.py",), 200, environment, (*numba, "numba.cuda"))


def selections(backend: str, file: str) -> list[list[str]]:
    """The tests that concern a file: pytest's arguments, what finds most first."""
    name = file.partition(".")[0]
    if not file.endswith((".cu", ".cuh")):
        name = name.rpartition("_")[0] or name
    words = WORDS.get(name, name)
    if backend == "cuda":
        both = [f"tests/gpu/cuda_on_cpu_suite/{test}.py" for test in ("contract", "meta")]
        found = [[*both, "-k", f"({words}) and not fewer"], [both[0], "-k", "fewer_threads"]]
        if name in ("conv2d", "product", "sums"):
            found.append(["tests/gpu/test_gpu_on_cpu.py", "-k", "slices"])
        if name in ("launch", "adam", "batchnorm", "maxpool"):
            found.append(["tests/gpu/test_launch.py"])
        return found
    if backend == "numba-cuda":
        contract, *others = (f"tests/gpu/cudasim/{t}.py" for t in ("contract", "pieces", "whole"))
        return [others] if name == "reptile" else [[contract, "-k", words], others]
    if name == "jit":  # with it, all kernels would be compiled anew for each mutant
        return [["tests/kernels/test_jit.py"]]
    contract, network = "tests/kernels/test_contract.py", "tests/engine/test_compiled.py"
    networks = [[network, "-k", NETWORK_TESTS], [network, "-k", "same_bits or hessian"]]
    if name in ("registers", "vectors", "tiles"):
        return [[f"tests/kernels/test_{test}.py"] for test in ("assembly", "registers")]
    if name in ("draw", "reptile"):
        outer = "tests/engine/test_compiled_outer.py"
        shared = "threads_change_nothing and (carry-images or mean-sine or fresh-images)"
        found = [[outer, "-k", "not threads"], [outer, "-k", shared]]
        return [["tests/kernels/test_draw.py"], *found] if name == "draw" else found
    if name == "batchnorm_pool":
        return [["tests/engine/test_compiled_pooled.py"]]
    if name == "winograd":
        words = "conv2d and numba and not cuda"
        return [["tests/kernels/test_winograd.py"], [contract, "-k", words]]
    contracts = [[contract, "-k", f"({words}) and numba and not cuda"]]
    if name in NETWORKS:
        return networks
    contracts += [["tests/mutants/test_kernels_found.py", "-k", "numba and not cuda"]]
    return [*contracts, *networks] if name in PARTS else contracts


# ------------------------------------------------------------------------------- one mutant

KILLED, SURVIVED, REFUSED = "killed", "survived", "refused"


class Place:
    """A copy of the sources, in which one mutant at a time lives."""

    def __init__(self, folder: Path, name: str, backend: str) -> None:
        self.folder, self.backend = folder / name, backend
        self.log, self.temporary = folder / f"{name}.log", folder / "shared"
        self.temporary.mkdir(exist_ok=True)
        leave_out = shutil.ignore_patterns("__pycache__")
        for part in ("kernels", "minireptile", "tests"):
            source = ROOT / part
            shutil.copytree(source, self.folder / part, symlinks=True, ignore=leave_out)
        shutil.copy2(ROOT / "pyproject.toml", self.folder)

    def begin(
        self, file: str, text: str, tests: list[list[str]], compiled: bool, limit: float
    ) -> int:
        """Run tests with this text in a file, in a process of its own; its number."""
        kernels = self.folder / "kernels"
        written = {file: text}
        if self.backend == "numba" and not compiled:
            for path in INTERPRETED.glob("*_numba.py"):
                written[path.name] = path.read_text(encoding="utf-8")
        self.restore = {kernels / f: (kernels / f).read_text(encoding="utf-8") for f in written}
        for name, content in written.items():
            (kernels / name).write_text(content, encoding="utf-8")
        # A mutant may have the size and the age of the last one.
        shutil.rmtree(kernels / "__pycache__", ignore_errors=True)
        child = os.fork()
        if not child:
            try:
                code = self.run(tests, limit)
            except BaseException:
                import_module("traceback").print_exc()
                code = 99
            sys.stderr.flush()
            os._exit(code)
        return child

    def run(self, tests: list[list[str]], limit: float) -> int:
        """In the child: pytest in the copy. Nothing of the original may be known by then."""
        signal.setitimer(signal.ITIMER_PROF, limit)  # of processor time
        signal.alarm(int(20 * limit))  # and where threads sleep for ever
        os.chdir(self.folder)
        sys.stdout = sys.stderr = open(self.log, "w")  # noqa: SIM115  (as long as the process)
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(sys.stdout.fileno(), 2)
        for name in [m for m in sys.modules if m.partition(".")[0] in ("tests", "minireptile")]:
            del sys.modules[name]
        sys.path[:] = [str(self.folder), *(p for p in sys.path if p not in ("", str(ROOT)))]
        os.environ["NUMBA_CACHE_DIR"] = str(self.folder / "cache")
        if "numba" in sys.modules:  # which read it when it was imported, in the parent
            sys.modules["numba"].config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]
        tempfile: Any = import_module("tempfile")
        tempfile.tempdir = str(self.temporary)
        plugins = ["-p", "no:cacheprovider", "-p", "tests.mutants.quick_failures"]
        ignored = ("RuntimeWarning", "pytest.PytestAssertRewriteWarning")
        quiet = ["-x", "-q", *(word for w in ignored for word in ("-W", f"ignore::{w}"))]
        for arguments in tests:
            code = int(import_module("pytest").main([*plugins, *quiet, *arguments]))
            if code:
                return code
        return 0

    def end(self, status: int) -> str:
        """Clear up behind a process; what came of its mutant."""
        for path, text in self.restore.items():
            path.write_text(text, encoding="utf-8")
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return SURVIVED
        said = self.log.read_text(errors="replace")
        if code in (4, 5, 99):
            sys.exit(f"{said[-3000:]}\nno tests were run")
        return REFUSED if "cuda_on_cpu_build.Refused" in said else KILLED


Task = tuple[str, str, list[list[str]], bool, float]  # file, text, tests, compiled, limit


def outcomes(places: list[Place], todo: list[Task]) -> Iterator[tuple[int, str, Place, float]]:
    """(number in `todo`, outcome, place, processor time) of every task, as they end."""
    free, running = list(places), dict[int, tuple[int, Place]]()
    waiting = list(enumerate(todo))[::-1]
    while waiting or running:
        while waiting and free:
            place, (number, task) = free.pop(), waiting.pop()
            running[place.begin(*task)] = number, place
        child, status, used = os.wait4(-1, 0)
        number, place = running.pop(child)
        yield number, place.end(status), place, used.ru_utime + used.ru_stime
        free.append(place)


# -------------------------------------------------------------------------------- all of them


def drawn(per_file: dict[str, list[T]], count: int, seed: int) -> list[tuple[str, T]]:
    """A sample: from every file in turn, at random within it."""
    rng = random.Random(seed)
    shuffled = {file: rng.sample(found, len(found)) for file, found in sorted(per_file.items())}
    turns = max(map(len, shuffled.values()), default=0)
    in_turn = [
        (f, found[i]) for i in range(turns) for f, found in shuffled.items() if i < len(found)
    ]
    return in_turn[:count]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help="of kernels/; all if none")
    parser.add_argument("--backend", choices=("numba", "cuda", "numba-cuda"), default="numba")
    parser.add_argument("--sample", type=int, help="how many mutants; about an hour's if not given")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--compiled", action="store_true", help="compile Numba's kernels too")
    given = parser.parse_args()
    backend = backend_of(given.backend)
    wanted = {**backend.environment, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    if any(os.environ.get(key) != value for key, value in wanted.items()):
        command = [sys.executable, "-m", "tests.mutants.kernels", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **wanted})
    paths = sorted(p for pattern in backend.files for p in (ROOT / "kernels").glob(pattern))
    texts = {p.name: p.read_text(encoding="utf-8") for p in paths}
    if given.files:
        texts = {name: texts[name] for name in given.files}
    per_file = {f: mistakes(f, text) for f, text in texts.items()}
    sample = drawn(per_file, given.sample or backend.sample, given.seed)
    for module in backend.needs:
        import_module(module)

    found: list[tuple[str, Mutant, str]] = []
    with TemporaryDirectory(prefix="mutants-") as folder:
        places = [Place(Path(folder), str(i), given.backend) for i in range(given.jobs)]
        print(f"{len(sample)} mutants of {sum(map(len, per_file.values()))}", flush=True)
        clean: dict[tuple[str, bool], Task] = {}
        for file, mistake in sample:
            for tests in selections(given.backend, file):
                how = given.compiled or is_compiled(file, mistake)
                clean[str(tests), how] = file, texts[file], [tests], how, LONGEST
        seconds: dict[tuple[str, bool], float] = {}
        for number, outcome, place, used in outcomes(places, list(clean.values())):
            if outcome != SURVIVED:
                sys.exit(f"{place.log.read_text()[-3000:]}\nit fails as it is")
            seconds[[*clean][number]] = used
        todo: list[Task] = []
        for file, mistake in sample:
            selected = selections(given.backend, file)
            how = given.compiled or is_compiled(file, mistake)
            limit = 10 + SLOWER * sum(seconds[str(tests), how] for tests in selected)
            todo.append((file, mistake.made(texts[file]), selected, how, limit))
        for number, outcome, _, _ in outcomes(places, todo):
            file, mistake = sample[number]
            mutant = mistake.seen(texts[file])
            found.append((file, mutant, outcome))
            if outcome == SURVIVED and mutant not in known():
                print(f"\nsurvived:\n{mutant}", flush=True)
    seen = {m.seen(texts[f]) for f, found in per_file.items() for m in found}
    return report(found, seen, set(texts))


def is_compiled(file: str, mistake: Mistake) -> bool:
    """Whether a mutant of Numba's cannot be read by Python."""
    return file in COMPILED or mistake.where.endswith(":codegen")


def report(found: Iterable[tuple[str, Mutant, str]], possible: set[Mutant], files: set[str]) -> int:
    """Print the score of every file, and what survivors.md says and is not so."""
    scores: dict[str, Counter[str]] = defaultdict(Counter)
    expected = known()
    for file, mutant, outcome in found:
        alive = outcome == SURVIVED
        scores[file]["known" if alive and mutant in expected else outcome] += 1
        if mutant in expected and outcome == KILLED:
            print(f"\nin survivors.md, yet killed:\n{mutant}")
    for mutant in sorted(expected - possible):
        if mutant.function.partition(":")[0] in files:
            print(f"\nin survivors.md, yet no mutant any more:\n{mutant}")
    print(f"\n{'':36}{'killed':>8}{'survived':>10}{'known':>7}{'refused':>9}")
    total: Counter[str] = Counter()
    for file, counts in sorted(scores.items()):
        total += counts
        print(line(file, counts))
    print(line("all", total))
    return 0 if percent(total) >= LEAST else 1


def line(name: str, counts: Counter[str]) -> str:
    numbers = f"{counts[KILLED]:8}{counts[SURVIVED]:10}{counts['known']:7}{counts[REFUSED]:9}"
    return f"{name:36}{numbers}{percent(counts):9.1f} %"


def percent(counts: Counter[str]) -> float:
    decided = counts[KILLED] + counts[SURVIVED]
    return 100 * counts[KILLED] / decided if decided else 100.0


if __name__ == "__main__":
    sys.exit(main())
