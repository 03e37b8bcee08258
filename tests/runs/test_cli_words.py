"""What the command line says, to the letter, and how its help stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rich_click as click

from docs import commands
from minireptile import InputError, MissingPackage
from minireptile.cli import completion, info, main, options, words
from minireptile.cli.commands import COMMANDS
from minireptile.cli.grid import folder_of_sweep, from_toml
from minireptile.cli.parts import WIDTH
from minireptile.cli.words import Number, OneOf, Several, sentence, suggestion

RUN = click.Argument(["run"], metavar="RUN")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_has_one_first_column(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In every panel; names in it with what they take, once."""
    monkeypatch.setenv("COLUMNS", "100")
    assert main([command, "--help"]) == 0
    rows = [line[2:-2] for line in capsys.readouterr().out.splitlines() if line.startswith("│ ")]
    firsts = [row[:WIDTH].strip() for row in rows]
    assert firsts
    if command == "train":
        assert {"DATASET", "--way N", "--rotations", "--overwrite"} <= {*firsts}
    if rows[-1].startswith("-h,--help  Show"):  # alone in its panel
        del rows[-1]
    for row in rows:
        first, gap, text = row[:WIDTH], row[WIDTH : WIDTH + 2], row[WIDTH + 2 :]
        assert (gap, text[:1].isspace()) == ("  ", False), row
        name = r"(-h,)?--[a-z0-9-]+( [A-Z]+)?|[A-Z]+|"  # or none, where a text goes on
        assert re.fullmatch(name, first.strip()), row


def test_the_page_of_the_command_line_is_what_it_says() -> None:
    assert commands.page() == commands.PAGE.read_text(encoding="utf-8"), "python -m docs.commands"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (click.UsageError("Something is odd..."), "something is odd"),
        (click.UsageError("Unknown X."), "unknown X"),
        (click.MissingParameter(param=RUN), "minireptile needs RUN"),
    ],
)
def test_an_error_of_no_command(error: click.UsageError, said: str) -> None:
    assert sentence(error) == said


def test_an_option_is_called_by_its_longest_name() -> None:
    kind = OneOf(["abc"])
    for parameter, name in (
        (click.Option(["-n", "--number"]), "--number"),
        (click.Option(["--number", "-n"]), "--number"),
        (RUN, "RUN"),
        (None, "the value"),
    ):
        with pytest.raises(InputError) as error:
            kind.convert("abd", parameter, None)
        assert str(error.value) == f"{name} must be one of abc, not 'abd': did you mean abc?"


def test_three_names_at_most_are_suggested() -> None:
    names = ["--inner-a", "--inner-b", "--inner-c", "--inner-d", "--other"]
    assert suggestion("--inner", names) == ": did you mean --inner-a, --inner-b or --inner-c?"
    assert suggestion("--", names) == suggestion("-", names) == ""
    assert suggestion("--othre", names) == ": did you mean --other?"


def test_a_number_says_what_it_is() -> None:
    number = Number(int, "a whole number")
    assert Several(number).name == number.name == "a whole number"
    assert number.convert("3", None, None) == 3
    with pytest.raises(InputError, match="the value must be a whole number, not '3"):
        number.convert("3.5", None, None)


def test_a_sweep_in_a_file_may_be_read_by_tomli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sweep.toml"
    path.write_bytes(b"seeds = 3")
    toml = SimpleNamespace(load=lambda file: {"seeds": len(file.read())})
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", toml)
    assert from_toml(path) == {"seeds": 9}
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(InputError) as error:
        from_toml(path)
    assert str(error.value) == "a TOML file needs Python 3.11 or newer, or: pip install tomli"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML comes with Python 3.11")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot read {path}: No such file or directory"),
        ("inner_ = 1", "{path} has 'inner_', which is no option of sweep: did you mean "
                       "inner-batch, inner-lr or inner-steps?"),
        ("inner_stesp = 1", "{path} has 'inner_stesp', which is no option of sweep: did you mean "
                            "inner-steps?"),
        ("zzz = 1", "{path} has 'zzz', which is no option of sweep: it may have seeds, out, "
                    "workers, preset and the options of train"),
    ],
)  # fmt: skip
def test_a_file_of_a_sweep_that_says_what_is_not(
    text: str | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "sweep.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as error:
        from_toml(path)
    assert str(error.value) == said.format(path=path)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"seeds": 3}, "sweep-sine-reptile"),
        ({"seeds": [3, 4], "inner_lr": [0.1, 0.2], "meta_batch": 3},
         "sweep-sine-reptile-meta_batch3-inner-lr"),
    ],
)  # fmt: skip
def test_a_sweep_is_named_after_what_is_fixed_and_what_varies(
    given: dict[str, Any], name: str
) -> None:
    assert folder_of_sweep({"dataset": "sine", **given}) == Path("runs", name)


def test_a_shell_completes_folders_where_no_run_begins_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    context, parameter = click.Context(click.Command("resume")), RUN
    [item] = completion.runs(context, parameter, "zz")
    assert (item.value, item.type) == ("zz", "dir")
    script = completion.script("bash", click.Group())
    assert script.rstrip().endswith(
        " -F _minireptile_completion minireptile\n}\n\n_minireptile_completion_setup;"
    )


def test_what_cannot_be_downloaded() -> None:
    with pytest.raises(InputError) as error:
        options.download("sine")
    assert str(error.value) == "--download is for omniglot, not for sine"


def test_info_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_there() -> int:
        raise MissingPackage("no threadpoolctl")

    def absent(package: str) -> str:
        raise info.PackageNotFoundError(package)

    monkeypatch.setattr(info.machine, "blas_threads", none_there)
    monkeypatch.setattr(info, "version", absent)
    monkeypatch.setattr(info, "why_not", lambda backend: "" if backend == "numpy" else "it is not")
    monkeypatch.setattr(info, "describe", lambda backend: f"of {backend}")
    monkeypatch.setattr(info.os, "cpu_count", lambda: None)
    monkeypatch.setattr(info.machine, "cores", lambda: 1)
    found = list(info.lines())
    assert "threads: no Numba, as many of BLAS's as it likes, without threadpoolctl" in found
    assert found[1].endswith(", 1 cores")
    assert "backend numpy: of numpy" in found
    assert "backend numba: it is not" in found
    assert f"numba is not installed: {info.pip('numba')}" in found
    assert words.listed(["a", "b"]) == "a or b"
