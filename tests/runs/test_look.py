"""A folder of one's own images, looked over before training: what is there, needed, possible."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from minireptile.cli import main
from minireptile.runs import needs
from minireptile.runs.settings import Settings

Rows = list[list[str]]


def picture(path: Path, size: tuple[int, int] = (30, 20), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five classes to train on, four for test, all of 12 images."""
    for part, classes in (("train", 5), ("test", 4)):
        for c in range(classes):
            for i in range(12):
                picture(tmp_path / "data" / part / f"{part}{c}" / f"{i}.png")
    return tmp_path / "data"


def checked(
    capsys: pytest.CaptureFixture[str], code: int, data: Path, *options: str
) -> tuple[Rows, list[str], str]:
    """The table, the lines below it, and what is wrong."""
    command = ["train", "folder", "--data", str(data), "--backend", "numpy", "--check", *options]
    assert main(command) == code
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    rows = [re.split(" {2,}", line) for line in lines if "  " in line]
    return rows, [line for line in lines if "  " not in line], captured.err


def test_what_is_there(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(data / "test" / "test3" / "large.png", (100, 50), "RGB")
    rows, lines, wrong = checked(capsys, 0, data, "--way", "4", "--shot", "3")
    assert rows[0] == ["class", "for", "images", "pixels", "colours", "damaged"]
    assert len(rows) == 10
    assert rows[1] == ["test0", "test", "12", "30 x 20", "grey", "0"]
    assert ["test3", "test", "13", "30 x 20 to 100 x 50", "colour and grey", "0"] in rows
    assert ["train4", "train", "12", "30 x 20", "grey", "0"] in rows
    assert lines == [
        "test: 4 classes, of 12 to 13 images",
        "train: 5 classes, of 12 to 12 images",
        "there are images in colour, which become grey: --channels 3 keeps it",
        "4-way 3-shot needs 4 classes of 10 images to train on (--train-shots) and 4 others of 4 "
        "for test",
        "possible here: --way up to 4, --shot up to 11, --train-shots up to 12",
        "training can start: leave out --check",
    ]
    assert wrong == ""
    assert "colour" not in "".join(checked(capsys, 0, data, "--way", "4", "--channels", "3")[1])


def test_where_training_could_not_start(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(capsys, 2, data)[2] == (
        "minireptile: 5-way 1-shot needs 5 classes of 10 images to train on (--train-shots) and 5 "
        "others of 2 for test, and there are 4 for test: lower --way to 4, or add classes\n"
    )
    (data / "train" / "train2" / "0.png").write_bytes(b"no picture")
    rows, lines, wrong = checked(capsys, 2, data, "--way", "2", "--train-shots", "12")
    assert ["train2", "train", "11", "30 x 20", "grey", "1"] in rows
    assert f"{data}/train/train2/0.png is damaged or no image that can be read" in lines[-1]
    assert wrong.startswith(
        "minireptile: 1 file cannot be read: replace or remove it; 2-way 1-shot"
    )
    assert wrong.endswith("class 'train2' has 11 images to train on: lower --train-shots to 11, or "
                          "add images to it or remove it\n")  # fmt: skip
    (data / "train" / "train2" / "1.png").write_bytes(b"no picture")
    wrong = checked(capsys, 2, data, "--way", "2")[2]
    assert wrong == "minireptile: 2 files cannot be read: replace or remove them\n"


def test_which_classes_are_for_test_is_drawn_or_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As training draws them; and the fraction is named that would be enough."""
    for c in range(9):
        for i in range(10):
            picture(tmp_path / f"class {c}" / f"{i}.png")
    few = checked(capsys, 2, tmp_path, "--way", "4")
    assert few[1][2].startswith("drawn with --test-fraction 0.25 and --seed 0: folders named train")
    assert few[2].endswith("lower --way to 2, or add classes; or --test-fraction 0.45\n")
    rows, _, _ = checked(capsys, 0, tmp_path, "--way", "4", "--test-fraction", "0.45")
    assert [row[1] for row in rows[1:]] == ["train"] * 5 + ["test"] * 4
    assert "--test-fraction" not in checked(capsys, 2, tmp_path, "--way", "5")[2]
    other = checked(capsys, 0, tmp_path, "--way", "4", "--test-fraction", "0.45", "--seed", "3")[0]
    assert rows != other
    assert "must lie between 0 and 1, not 1.5" in checked(
        capsys, 2, tmp_path, "--test-fraction", "1.5"
    )[2]  # fmt: skip


def test_of_many_classes_the_poorest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for c in range(42):
        for i in range(11 if c < 40 else 14):
            picture(tmp_path / f"class{c}" / f"{i}.png", (2, 2))
    rows, lines, _ = checked(capsys, 0, tmp_path)
    assert len(rows) == 41
    assert {row[2] for row in rows[1:]} == {"11"}
    assert lines[0] == "the 40 classes with the fewest images, of 42"


def test_it_is_for_folders(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sine", "--backend", "numpy", "--check"]) == 2
    assert "--check is for folder, not for sine" in capsys.readouterr().err


def test_what_a_part_lacks() -> None:
    s = Settings(backend="numpy", way=3, shot=2, train_shots=4)
    enough = {"train": dict.fromkeys("abc", 4), "val": dict.fromkeys("def", 3),
              "test": dict.fromkeys("ghi", 3)}  # fmt: skip
    assert needs.lacking(s, enough) == ""
    assert needs.possible(enough) == (
        "possible here: --way up to 3, --shot up to 2, --train-shots up to 4"
    )
    poor = {**enough, "val": {"d": 2, "e": 9}, "test": {"g": 1, "h": 3, "i": 9}}
    assert needs.lacking(s, poor) == (
        "3-way 2-shot needs 3 classes of 4 images to train on (--train-shots) and 3 others of 3 "
        "for test, and there are 2 for validation, and class 'd' has 2 images for validation, and "
        "class 'g' has 1 image for test: lower --way to 2, or add classes; lower --shot to 1, or "
        "add images to it or remove it; add images to it or remove it"
    )
    assert needs.lacking(s, {**enough, "test": {"g": 3}}).endswith("1 for test: add classes")
