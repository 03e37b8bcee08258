"""What the command line says of itself: help, info, check, and what it chose."""

from __future__ import annotations

import os
from dataclasses import fields

import numpy as np
import pytest

import minireptile as mr
from minireptile.cli import info, main, options
from minireptile.cli.arguments import CHECKED
from minireptile.cli.commands import COMMANDS
from minireptile.runs.settings import GROUPS, Settings

from .run_helpers import Asked, settings


@pytest.mark.parametrize(
    ("dataset", "chosen", "words"),
    [
        ("glyphs", "numpy", "using the numpy backend, several times slower: numba will not"),
        ("sine", "numpy", "using the numpy backend, several times slower: numba will not"),
        ("glyphs", "numba", "using the numba backend, on the CPU: cupy will not"),
        ("sine", "numba", ""),
        ("glyphs", "cupy", ""),
    ],
)
def test_what_auto_chose_and_why_not_faster(
    dataset: str, chosen: str, words: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A GPU is a candidate for images alone, and missed where one would expect it."""
    asked = Asked(chosen)
    monkeypatch.setattr("minireptile.backend.fastest", asked)
    monkeypatch.setattr(options, "why_not", lambda backend: f"{backend} will not")
    monkeypatch.setattr(options, "gpu_expected", lambda: True)
    assert settings(dataset).backend == chosen
    candidates = ("numpy", "numba") if dataset == "sine" else ("numpy", "numba", "cupy")
    assert asked.calls == [((candidates,), {})]
    said = capsys.readouterr().err
    assert said == (f"minireptile: {words}\n" if words else "")
    monkeypatch.setattr(options, "gpu_expected", lambda: False)
    settings(dataset)
    assert capsys.readouterr().err == (said if chosen == "numpy" else "")
    settings(dataset, "--backend", "numpy")  # as asked for
    assert capsys.readouterr().err == ""


def test_tf32_is_for_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings("glyphs", "--backend", "cupy", "--tf32").tf32
    with pytest.raises(mr.InputError, match="--tf32 is for --backend cupy, not for numpy"):
        settings("glyphs", "--backend", "numpy", "--tf32")


def test_check_passes_on_what_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from minireptile import testing

    asked = Asked([])
    monkeypatch.setattr(testing, "check_layers", asked)
    monkeypatch.setattr(testing, "table", str)
    assert main(["check"]) == 0
    assert main(["check", "ReLU", "--backend", "numba"]) == 0
    assert asked.calls == [((None, "numpy"), {}), (("ReLU", "numba"), {})]


def test_check_and_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "WRONG" not in out
    assert out.count(" ok") > 20
    assert main(["check", "BatchNorm"]) == 0
    assert "Conv2D" not in capsys.readouterr().out
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "numpy" in out
    assert "safetensors" in out


def test_what_check_offers_it_has() -> None:
    from minireptile import testing

    assert {row.layer for row in testing.check_layers()} == {*CHECKED} - {"Model"} | {
        row.layer for row in testing.check_layers("Model")
    }


def test_what_info_says_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(info, "why_not", lambda backend: f"{backend} is not here")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"processor: {info.processor()}, 8 cores, 3 of them usable here"
    assert lines[2] == "threads: no Numba, 1 of BLAS's"
    assert lines[3] == "backend numpy: numpy is not here"
    assert info.processor().strip()
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8), raising=False)
    assert info.cores() == "8 cores"
    assert f"numpy {np.__version__}, BLAS " in "\n".join(lines)
    monkeypatch.setattr(np, "show_config", lambda: None)  # before 1.26, it takes no mode
    assert f"numpy {np.__version__}" in info.lines()


def test_help_has_every_setting_in_its_panel_and_fits_the_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the defaults, which are those of glyphs."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    panels = [line[3:].split(" ─")[0] for line in lines if line.startswith("╭─")]
    assert panels == list(GROUPS.values())
    at = [lines.index(line) for line in lines if line.startswith("╭─")] + [len(lines)]
    inside = {p: lines[a:b] for p, a, b in zip(panels, at, at[1:], strict=False)}
    for f in fields(Settings):
        option = "DATASET" if f.name == "dataset" else f"--{f.name.replace('_', '-')}"
        panel = inside[GROUPS[f.metadata["group"]]]
        assert sum(line.startswith((f"│ {option} ", f"│ {option}\n")) for line in panel) == 1, (
            option
        )
    for words in ("[5]", "[0.001]", "[rotations]", "Examples:", "minireptile train glyphs\n"):
        assert words in said.replace(" \n", "\n").replace("  ", "")
    assert settings("glyphs", "--backend", "numpy") == Settings(backend="numpy")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "-h"]) == 0
    assert f"Usage: minireptile {command}" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert f"\n│ {command} " in capsys.readouterr().out


def test_check_fails_when_a_kernel_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from minireptile.backend import kernels

    right = kernels("numpy").tanh_backward
    monkeypatch.setattr(kernels("numpy"), "tanh_backward", lambda dx, dy, y: right(dx, 2 * dy, y))
    assert main(["check", "Tanh"]) == 2
    captured = capsys.readouterr()
    assert "WRONG" in captured.out
    assert "gradients of Tanh are wrong" in captured.err
    assert "ratio 2 everywhere" in captured.out
    wrong = kernels("numpy").relu_backward
    monkeypatch.setattr(kernels("numpy"), "relu_backward", lambda dx, dy, y: wrong(dx, 2 * dy, y))
    assert main(["check"]) == 2
    assert "gradients of ReLU, Tanh" in capsys.readouterr().err
