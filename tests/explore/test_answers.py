"""A question in, an answer out: right for what a page asks, and a sentence for anything else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minireptile import InputError
from minireptile.explore import answer
from minireptile.explore.answer import LONGEST, compute, first_answers, tables, written
from minireptile.explore.values import pack

CALLS, FIGURES = tables()
QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    (name, json.loads(json.dumps({n: f.first[n] for n in CALLS[name].takes}, default=pack)))
    for f in FIGURES.values()
    for name in f.calls
]


def asked(text: str) -> dict[str, Any]:
    """The answer to a question: one of the two forms, and never a failure of the engine."""
    found: dict[str, Any] = json.loads(answer(text))
    assert found.keys() in ({"ok"}, {"error"})
    if "error" in found:
        sentence = found["error"]
        assert "\n" not in sentence
        assert "the engine failed" not in sentence, sentence
        assert len(sentence) < 400
    return found


@pytest.mark.parametrize(("name", "arguments"), QUESTIONS)
def test_first_questions_have_finite_answers(name: str, arguments: dict[str, Any]) -> None:
    text = answer(json.dumps([name, arguments]))
    assert "ok" in json.loads(text, parse_constant=lambda constant: pytest.fail(constant))
    for value in compute(name, arguments).values():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            assert np.isfinite(value).all()


@pytest.mark.parametrize("name", [f.name for f in FIGURES.values() if f.code])
def test_the_lines_behind_a_figure_give_its_numbers(name: str) -> None:
    f = FIGURES[name]
    assert f.gives
    answers: dict[str, Any] = {}
    for each in f.calls:
        answers |= compute(each, {n: f.first[n] for n in CALLS[each].takes})
    known: dict[str, Any] = {}
    exec(written(f, f.first), known)
    for entry, variable in f.gives.items():
        np.testing.assert_allclose(known[variable], answers[entry], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [f.name for f in FIGURES.values() if f.code])
def test_the_lines_are_asked_for_by_the_state(name: str) -> None:
    f = FIGURES[name]
    state = {n: f.first[n] for each in f.calls for n in CALLS[each].takes}
    text = json.dumps(["code", {"figure": name, **state}], default=pack)
    assert asked(text)["ok"]["code"] == written(f, f.first)


def test_what_a_figure_begins_with_is_what_its_calls_take() -> None:
    for f in FIGURES.values():
        taken = {n for name in f.calls for n in CALLS[name].takes}
        assert taken == f.first.keys(), f.name
        assert not taken & f.own.keys(), f.name


def test_recorded_answers_are_those_of_the_engine() -> None:
    recorded = first_answers()
    assert recorded["figures"].keys() == FIGURES.keys()
    texts = {json.dumps([name, arguments]) for name, arguments in QUESTIONS}
    for name, arguments, found in recorded["answers"]:
        text = json.dumps([name, arguments], default=pack)
        assert text in texts
        assert asked(text)["ok"] == json.loads(json.dumps(found, default=pack))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be JSON"),
        ("[", "must be JSON"),
        ('["reptile_step"]', '["name", {arguments}]'),
        ('["nothing", {}]', "no call 'nothing'"),
        ('["code", {"figure": "nothing"}]', "no figure 'nothing'"),
        ('["code", {"figure": ["reptile_step"]}]', "no figure"),
        ('["plane_loss", {}]', "needs 'tasks'"),
        ('["plane_loss", {"tasks": [[1, 1]], "more": 1}]', "takes no 'more'"),
        ('["plane_loss", {"tasks": [[1, NaN]]}]', "must be JSON"),
        ('["plane_loss", {"tasks": [[1, 1e999]]}]', "must be a finite number"),
        ('["plane_loss", {"tasks": [[1, "1"]]}]', "must be a number"),
        ('["plane_loss", {"tasks": [[1, 9]]}]', "between -5 and 5"),
        ('["plane_loss", {"tasks": []}]', "a list of 1 to 4"),
        ("[" * 10_000, "must be JSON"),
        ('["plane_loss", {"tasks": ' + "9" * 5_000 + "}]", "must be JSON"),
        ('["' + "x" * LONGEST + '", {}]', "characters"),
    ],
)
def test_a_wrong_question_is_answered_with_a_sentence(text: str, says: str) -> None:
    assert says in asked(text)["error"]


def test_a_mistake_of_ours_does_not_end_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = CALLS["plane_loss"]._replace(compute=lambda **_: {"x": 1 // 0})
    monkeypatch.setitem(CALLS, "plane_loss", broken)
    found = json.loads(answer('["plane_loss", {"tasks": [[1, 1]]}]'))
    assert found == {
        "error": "the engine failed on this question: ZeroDivisionError: integer division or "
        "modulo by zero"
    }


def test_whole_numbers_do_not_make_theta_whole() -> None:
    given = dict(FIGURES["reptile_step"].first)
    whole = compute("reptile_step", {**given, "theta": [1, 2]})
    real = compute("reptile_step", {**given, "theta": [1.0, 2.0]})
    np.testing.assert_array_equal(whole["next"], real["next"])
    assert not np.array_equal(whole["next"], [1, 2])


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([10**400, -1, 0, 1e308, 1e-308, "__class__", "../x", [], {}, [[]]]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@st.composite
def questions(draw: st.DrawFn) -> str:
    """A question that a page asks, with something wrong in one place of it; or anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.text(max_size=40) | HOSTILE.map(json.dumps))
    name, arguments = draw(st.sampled_from(QUESTIONS))
    arguments = json.loads(json.dumps(arguments))
    place, key = arguments, draw(st.sampled_from([*arguments, "more"]))
    while isinstance(place.get(key) if isinstance(place, dict) else place[key], list | dict):
        inner = place[key]
        if not inner or draw(st.booleans()):
            break
        place = inner
        key = draw(st.sampled_from([*inner] if isinstance(inner, dict) else range(len(inner))))
    if draw(st.booleans()):
        place[key] = draw(HOSTILE)
    else:
        place.pop(key, None) if isinstance(place, dict) else place.pop(key)
    text = json.dumps([name, arguments])
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


@given(questions())
@settings(max_examples=200)
def test_every_question_gets_an_answer_or_a_sentence(text: str) -> None:
    asked(text)


@pytest.mark.long
@given(questions())
@settings(max_examples=10_000)
def test_ten_thousand_questions(text: str) -> None:
    asked(text)


def test_what_json_cannot_say_is_refused_by_pack() -> None:
    with pytest.raises(TypeError):
        json.dumps({"x": object()}, default=pack)


def test_compute_checks_like_answer() -> None:
    with pytest.raises(InputError, match="must lie between"):
        compute("plane_loss", {"tasks": [[0, 50]]})
