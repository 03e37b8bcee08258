"""The example of minireptile/testing/README.md, as a user would follow it, outside the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "minireptile" / "testing" / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
OUTPUTS = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)


def run(folder: Path, replace: tuple[str, str] = ("", "")) -> subprocess.CompletedProcess[str]:
    for name, code in FILES.items():
        (folder / name).write_text(code.replace(*replace) if replace[0] else code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "check_mine.py"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def without_digits(text: str) -> str:
    """Rounding errors differ from machine to machine."""
    return re.sub(r"\d\.\de-\d\d", "0", text).strip()


def test_right_layers_pass_in_five_lines(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert without_digits(done.stdout) == without_digits(OUTPUTS[0])
    assert len([line for line in FILES["check_mine.py"].splitlines() if line]) == 5


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("d - through_mean - through_variance", "d - through_mean", OUTPUTS[1]),
        ("d - through_mean - through_variance", "d - through_variance", "the path through a mean"),
        ("self.dgamma, self.dbeta = (dy * self.xhat).sum(0)",
         "self.dgamma, self.dbeta = dy.sum(0)", "dgamma: is wrong"),
        ("d = dy * self.gamma", "d = -dy * self.gamma", "ratio -1 everywhere: the sign is wrong"),
        ("(1 - t**2) * C", "(1 - t) * C", "gelu: 1 wrong"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_and_told(right: str, wrong: str, words: str, tmp_path: Path) -> None:
    assert right in FILES["my_layers.py"]
    done = run(tmp_path, (right, wrong))
    assert done.returncode == 1
    assert words.strip() in done.stderr
