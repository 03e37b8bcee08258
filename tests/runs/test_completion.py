"""What completes in a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from minireptile.cli import main
from minireptile.cli.completion import VARIABLE


def completed(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What the script of bash is told, for the last of the words."""
    monkeypatch.setenv(VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"minireptile {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    assert main([]) == 0
    return [line.partition(",")[2] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("re", ["resume", "reproduce"]),
        ("train gl", ["glyphs"]),
        ("train sine --inner-", ["--inner-steps", "--inner-batch", "--inner-lr"]),
        ("train sine --algorithm m", ["maml"]),
        ("reproduce ov", ["overlap"]),
        ("evaluate runs/", ["runs/first"]),
        ("evaluate elsewhere", ["elsewhere"]),
    ],
)
def test_what_completes(
    words: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for folder in ("first", "empty"):
        Path("runs", folder).mkdir(parents=True)
    Path("runs/first/checkpoint.safetensors").touch()
    assert completed(words, monkeypatch, capsys) == names


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.filterwarnings("ignore")
def test_the_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert f"{VARIABLE}={shell}_complete" in said
    assert "minireptile" in said
