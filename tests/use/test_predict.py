"""Folders of one's own images: what is read, what is said, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import minireptile as mr
from minireptile.runs.predict import Predicted, as_csv, as_json, as_table, predict

from .small_trained import small_trained

image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

BAR = np.full((6, 6), 255, np.uint8)
BAR[2:4, 1:5] = 0
POLE = BAR.T.copy()
DOT = np.full((6, 6), 255, np.uint8)
DOT[1:3, 1:3] = 0
SHAPES = {"bar": BAR, "dot": DOT, "pole": POLE}


def write(path: Path, pixels: NDArray, scale: int = 1) -> Path:
    """An image file, each pixel as `scale` x `scale` of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)).save(path)
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """support/CLASS/a.png, one each, and query/q0.png, ... of bar, dot, pole."""
    for i, (name, pixels) in enumerate(SHAPES.items()):
        write(tmp_path / "support" / name / "a.png", pixels)
        write(tmp_path / "query" / f"q{i}.png", pixels)
    return tmp_path


def drawn(**card: Any) -> mr.Trained:
    """A model for characters, with steps enough to learn three of them by heart."""
    ink = {"dataset": "glyphs", "way": 3, "ink": True, "range": [0, 1], **card}
    return replace(small_trained(card=ink), steps=40)


def asked(own: Path, **options: Any) -> Predicted:
    return predict(drawn(), own / "support", own / "query", **options)


def test_predictions_are_those_of_the_trained_model(own: Path) -> None:
    found = asked(own)
    x = np.stack([*SHAPES.values()]) / 255
    adapted = drawn().adapt(x, [*SHAPES])
    assert found.classes == ("bar", "dot", "pole")
    assert found.files == ("q0.png", "q1.png", "q2.png")
    np.testing.assert_array_equal(found.probabilities, adapted.probabilities(x))
    assert found.loss == tuple(adapted.loss)
    assert found.predictions == ("bar", "dot", "pole")
    assert (found.truth, found.accuracy, found.notes) == ((), None, ())
    together = asked(own, transductive=True)
    np.testing.assert_array_equal(together.probabilities, adapted.probabilities(x, True))
    assert (found.transductive, together.transductive) == (False, True)


def test_folders_of_queries_tell_the_accuracy(own: Path) -> None:
    for name, pixels in (("bar", BAR), ("pole", POLE), ("dot", POLE)):
        write(own / "known" / name / "1.png", pixels)
    found = predict(drawn(), own / "support", own / "known")
    assert found.truth == ("bar", "dot", "pole")
    assert found.predictions == ("bar", "pole", "pole")
    assert found.accuracy == pytest.approx(2 / 3)
    assert "accuracy 66.7 %: 2 of 3 right" in as_table(found)
    rows = as_table(found).splitlines()
    assert next(row for row in rows if row.startswith("dot/1.png")).split()[1] == "wrong"


def test_one_image_or_a_zip_will_do(own: Path) -> None:
    wanted = asked(own).probabilities
    one = predict(drawn(), own / "support", own / "query" / "q1.png")
    np.testing.assert_array_equal(one.probabilities, wanted[1:2])
    with zipfile.ZipFile(own / "support.zip", "w") as archive:
        for name in SHAPES:
            archive.write(own / "support" / name / "a.png", f"{name}/a.png")
    zipped = predict(drawn(), own / "support.zip", own / "query")
    np.testing.assert_array_equal(zipped.probabilities, wanted)


def test_sizes_greys_and_light_on_dark_make_no_difference(own: Path) -> None:
    wanted = asked(own).probabilities
    write(own / "query" / "q0.png", BAR, scale=8)
    write(own / "query" / "q1.png", np.uint8(90 + DOT // 3))
    write(own / "query" / "q2.png", 255 - POLE)
    found = asked(own)
    np.testing.assert_allclose(found.probabilities[1:], wanted[1:], rtol=1e-4)
    assert found.predictions == ("bar", "dot", "pole")
    (note,) = found.notes
    assert "1 of 3 images of" in note
    assert note.endswith("are light on dark and were inverted: 'q2.png'")


def test_all_that_were_inverted_need_no_names(own: Path) -> None:
    for i, pixels in enumerate(SHAPES.values()):
        write(own / "query" / f"q{i}.png", 255 - pixels)
    (note,) = asked(own).notes
    assert note.startswith("3 of 3 images of ")
    assert note.endswith(" are light on dark and were inverted")


def test_two_classes_will_do(own: Path) -> None:
    (own / "support" / "dot" / "a.png").unlink()
    assert asked(own).classes == ("bar", "pole")


@pytest.mark.parametrize("corner", [(0, 0), (22, 3), (26, 70)])
def test_characters_are_cut_out_wherever_they_stand(own: Path, corner: tuple[int, int]) -> None:
    write(own / "query" / "q0.png", BAR, scale=4)
    wanted = asked(own).probabilities
    large = BAR[2:4, 1:5].repeat(4, 0).repeat(4, 1)  # 8 x 16 pixels of ink
    for name, invert in (("q0", False), ("q1", True)):
        paper = np.full((34, 86), 250, np.uint8)
        paper[corner[0] : corner[0] + 8, corner[1] : corner[1] + 16] = large
        write(own / "query" / f"{name}.png", 255 - paper if invert else paper)
    found = asked(own)
    np.testing.assert_allclose(found.probabilities[:2], wanted[[0, 0]], rtol=1e-9)


def test_photographs_are_taken_as_they_are(own: Path) -> None:
    dark = write(own / "dark.png", 255 - POLE)
    photographs = drawn(ink=False)
    found = predict(photographs, own / "support", dark)
    adapted = photographs.adapt(np.stack([*SHAPES.values()]) / np.float32(255), [*SHAPES])
    wanted = adapted.probabilities((255 - POLE[None]) / np.float32(255))
    np.testing.assert_array_equal(found.probabilities, wanted)
    assert found.notes == ()
    noise = np.random.default_rng(0).integers(0, 256, (15, 15), np.uint8)
    large = write(own / "large.png", noise)
    found = predict(photographs, own / "support", large)
    resized = np.asarray(image.fromarray(noise).resize((6, 6)))  # as load_folder does
    wanted = adapted.probabilities(resized[None] / np.float32(255))
    np.testing.assert_array_equal(found.probabilities, wanted)


def test_photographs_have_their_colours(own: Path) -> None:
    model = mr.Model([mr.Flatten(), mr.Dense(3)], (6, 6, 3))
    trained = mr.Trained(model, model.init(0), {}, mr.SGD(0.1))
    colours = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    image.fromarray(colours).save(own / "colours.png")
    found = predict(trained, own / "support", own / "colours.png")
    x = np.stack([*SHAPES.values()])[..., None].repeat(3, -1) / np.float32(255)
    wanted = trained.adapt(x, [*SHAPES]).probabilities(colours[None] / np.float32(255))
    np.testing.assert_array_equal(found.probabilities, wanted)


def test_of_many_names_three_are_said(own: Path) -> None:
    for i in range(5):
        (own / "query" / f"torn{i}.png").write_text("no image")
    named = "'torn0.png', 'torn1.png', 'torn2.png' and 2 more"
    with pytest.raises(mr.InputError, match=f"5 of 8 images .*, {named}: mend"):
        asked(own)


def test_other_proportions_are_said(own: Path) -> None:
    folders = own / "support", own / "query"
    write(own / "query" / "q0.png", np.concatenate([BAR, BAR], axis=1))
    assert predict(drawn(ink=False), *folders).notes == (), "one of three is no rule"
    write(own / "query" / "q1.png", np.concatenate([DOT, DOT], axis=1))
    assert asked(own).notes == (), "a character is cut out of any paper"
    (note,) = predict(drawn(ink=False), *folders).notes
    assert note.startswith("queries are 2.00 times as wide as high and examples 1.00 times")


def test_unreadable_images_are_named_and_left_out_if_asked(own: Path) -> None:
    wanted = asked(own).probabilities
    (own / "query" / "torn.png").write_bytes((own / "query" / "q0.png").read_bytes()[:40])
    write(own / "query" / "white.png", np.full((6, 6), 255, np.uint8))
    with pytest.raises(mr.InputError, match=r"2 of 5 images .* 'torn.png', 'white.png': mend"):
        asked(own)
    found = asked(own, skip_unreadable=True)
    np.testing.assert_array_equal(found.probabilities, wanted)
    (note,) = found.notes
    assert note.endswith("cannot be read or are blank and were left out: 'torn.png', 'white.png'")
    (own / "support" / "dot" / "a.png").write_text("no image")
    with pytest.raises(mr.InputError, match=r"1 of 3 images of .*, and none is left in 'dot'"):
        asked(own, skip_unreadable=True)


def test_images_outside_of_class_folders_are_left_out(own: Path) -> None:
    wanted = asked(own).probabilities
    write(own / "support" / "loose.png", BAR)
    found = asked(own)
    np.testing.assert_array_equal(found.probabilities, wanted)
    assert found.notes[0].endswith("images outside class folders left out: 1")


def emptied(folder: Path) -> Any:
    for file in folder.rglob("*.png"):
        file.unlink()


def only(own: Path, name: str) -> None:
    for other in SHAPES.keys() - {name}:
        emptied(own / "support" / other)


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no support": (lambda own: (own / "support").rename(own / "x"), "does not exist: check"),
    "no query": (lambda own: (own / "query").rename(own / "x"), "does not exist: check"),
    "empty support": (lambda own: emptied(own / "support"), "support holds no images .png, jpg"),
    "empty query": (lambda own: emptied(own / "query"), "query holds no images"),
    "one class": (lambda own: only(own, "dot"), "one class alone, 'dot': make a folder"),
    "no folders": (
        lambda own: [emptied(own / "support"), write(own / "support" / "a.png", BAR)],
        "no folder of images for each class: "
        "put the examples of each class into a folder with its name$",
    ),
    "another class": (
        lambda own: [emptied(own / "query"), write(own / "query" / "star" / "a.png", BAR)],
        "query and .*support disagree: there are no examples of 'star' .* only of 'bar', 'dot'",
    ),
    "half in folders": (
        lambda own: write(own / "query" / "dot" / "a.png", DOT),
        "both folders of classes and images outside of them, such as q0.png: "
        "put all into folders, or none$",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_folders_that_do_not_fit_get_one_sentence(case: str, own: Path) -> None:
    spoil, sentence = WRONG[case]
    spoil(own)
    with pytest.raises(mr.InputError, match=sentence) as caught:
        asked(own)
    assert "\n" not in str(caught.value)


def test_a_model_of_another_kind_is_refused(own: Path) -> None:
    sine = mr.sine_mlp()
    trained = mr.Trained(sine, sine.init(0), {}, mr.SGD(0.1), card={"dataset": "sine"})
    with pytest.raises(
        mr.InputError,
        match=r"on sine: use a run on glyphs, omniglot, miniimagenet or a folder of images$",
    ):
        predict(trained, own / "support", own / "query")
    flat = mr.Model([mr.Dense(3)], (36,))
    with pytest.raises(mr.InputError, match=r"this model was trained for \(36,\)"):
        predict(mr.Trained(flat, flat.init(0), {}, mr.SGD(0.1)), own / "support", own / "query")


PREDICTED = Predicted(
    ("a", "b", "c", "d"), ("d/1.png", "b/2.png"),
    np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.25, 0.05, 0.0]]), ("d", "b"),
    tuple(1 / (1 + i) for i in range(11)), 8, True, ("all is well",),
)  # fmt: skip


def test_the_table_is_as_it_was() -> None:
    assert as_table(PREDICTED) == "\n".join(
        [
            "4 classes, 8 examples, 2 queries, classified together (transductive)",
            "",
            "loss before each step:",
            "  1.000  0.500  0.333  0.250  0.200  0.167  0.143  0.125  0.111  0.100",
            "  0.091",
            "",
            "query, and its classes by probability:",
            "d/1.png  right  d 40.0 %  c 30.0 %  b 20.0 %",
            "b/2.png  wrong  a 70.0 %  b 25.0 %  c 5.0 %",
            "",
            "accuracy 50.0 %: 1 of 2 right",
            "note: all is well",
        ]
    )


def test_json_and_csv_hold_everything() -> None:
    found = json.loads(as_json(PREDICTED))
    assert found["queries"][1] == {
        "file": "b/2.png", "predicted": "a", "true": "b",
        "probabilities": {"a": 0.7, "b": 0.25, "c": 0.05, "d": 0.0},
    }  # fmt: skip
    assert found["loss"] == list(PREDICTED.loss)
    assert found["classes"] == ["a", "b", "c", "d"]
    assert (found["accuracy"], found["support"], found["transductive"]) == (0.5, 8, True)
    assert found["notes"] == ["all is well"]
    rows = list(csv.DictReader(io.StringIO(as_csv(PREDICTED))))
    assert rows[0] == {
        "file": "d/1.png", "predicted": "d", "true": "d",
        "a": "0.100000", "b": "0.200000", "c": "0.300000", "d": "0.400000",
    }  # fmt: skip
    unknown = replace(PREDICTED, truth=())
    assert json.loads(as_json(unknown))["accuracy"] is None
    assert "true" not in json.loads(as_json(unknown))["queries"][0]
    assert as_csv(unknown).splitlines()[0] == "file,predicted,a,b,c,d"
    assert "right" not in as_table(unknown)
