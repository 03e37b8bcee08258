"""What is released: a wheel and a source archive, each installed where no checkout is, with the
oldest Python and packages that setup.py allows, and with the newest at hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
OLDEST, NEWEST = (3, 10), 14
NEEDED = "-c", "import venv, ensurepip"


def pythons() -> list[Path]:
    """The interpreters at hand from the oldest supported on, by rising version."""
    names = [f"python{OLDEST[0]}.{minor}" for minor in range(OLDEST[1], NEWEST + 1)]
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: list[Path] = []
    for name in names:
        here = [str(p) for p in sorted(versions.glob(f"*/bin/{name}"))]
        here += filter(None, [shutil.which(name)])
        works = (p for p in here if not subprocess.run([p, *NEEDED], check=False).returncode)
        found += map(Path, list(works)[:1])
    return found


def output(*command: object, where: Path | None = None, **environment: str) -> str:
    """What a command prints, which must not fail."""
    done = subprocess.run(
        [str(word) for word in command], cwd=where, capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def oldest_packages() -> list[str]:
    """Every requirement of the command line and of Numba, at the version that setup.py begins
    with."""
    source = (ROOT / "setup.py").read_text(encoding="utf-8")
    lists = re.findall(r"^(?:CLI|NUMBA) = \[(.*?)\]", source, re.DOTALL | re.MULTILINE)
    wanted = re.findall(
        r'"([\w-]+)>=([\d.]+)"', "".join(lists) + source[source.index("install_r") :]
    )
    return sorted({f"{name}=={version}" for name, version in wanted})


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel, and the source archive that it is built from, of a copy of what git tracks."""
    if find_spec("build") is None:
        pytest.skip("the package build is not installed: make .venv/.dev brings it")
    copy, dist = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    output(sys.executable, "-m", "build", "--outdir", dist, copy)
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return {"wheel": wheel, "source": source}


@pytest.mark.long
@pytest.mark.parametrize(("kind", "age"), [("source", "oldest"), ("wheel", "newest")])
def test_it_installs_and_works_without_the_checkout(
    kind: str, age: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    python = pythons()[0 if age == "oldest" else -1]
    if age == "oldest" and python.name != f"python{OLDEST[0]}.{OLDEST[1]}":
        pytest.skip(f"no Python {OLDEST[0]}.{OLDEST[1]} here, which the oldest packages need")
    place = tmp_path / "venv"
    output(python, "-m", "venv", place)
    packages = oldest_packages() if age == "oldest" else []
    pip = place / "bin/python", "-m", "pip"
    output(*pip, "install", "-q", f"{archives[kind]}[cli,numba]", *packages)

    command, elsewhere = place / "bin/minireptile", tmp_path / "elsewhere"
    elsewhere.mkdir()
    own = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": ""}
    version = output(command, "--version", where=elsewhere, **own).split()[-1]
    assert f"-{version}" in archives[kind].name
    for words in (["info"], ["check", "Dense"], ["check", "Dense", "--backend", "numba"]):
        output(command, *words, where=elsewhere, **own)
    draw(elsewhere)
    queries = "predict", "--pretrained", "glyphs", "--support", "few", "--query", "more", "--json"
    assert json.loads(output(command, *queries, where=elsewhere, **own))["accuracy"] == 1.0


def draw(folder: Path) -> None:
    """Images of two classes, a bar upright and one lying: few/CLASS/*.png, more/CLASS/*.png."""
    for name in ("upright", "lying"):
        for i, part in enumerate(("few", "few", "more", "more")):
            at = folder / part / name
            at.mkdir(parents=True, exist_ok=True)
            pixels = np.full((56, 56), 255, np.uint8)
            pixels[24 + i : 30 + i, 8 + i : 46 + i] = 0
            Image.fromarray(pixels.T if name == "upright" else pixels).save(at / f"{i}.png")


def test_the_version_and_the_changes_agree() -> None:
    from minireptile import __version__

    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\d+\.\d+\.\d+)", changes, re.MULTILINE)[0] == __version__
