"""Verdicts: of a figure, its interval and a bound; of several; and what every experiment concludes
from made-up figures, when its claim holds, when not, and when they are too few to tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minireptile.cli import main
from minireptile.reproduce import EXPERIMENTS, k1, outcome
from minireptile.reproduce.outcome import (
    FAILS,
    HOLDS,
    TOO_SMALL,
    Finding,
    Outcome,
    around,
    decide,
    difference,
    exactly,
    ratio,
    student,
    weakest,
)

from .test_measured import apart

CLAIMS = Path(__file__).parents[2] / "bench" / "results" / "claims"


@pytest.mark.parametrize(
    ("low", "high", "above", "verdict", "end"),
    [
        (1.25, 3.0, True, HOLDS, "is 2 (95 %: 1.25 to 3), above 1"),
        (1.0, 3.0, True, TOO_SMALL, "(95 %: 1 to 3), where the claim has it above 1, which lies"),
        (-1.0, 1.0, True, TOO_SMALL, "where the claim has it above 1, which lies within"),
        (-1.0, 0.75, True, FAILS, "is -0.125 (95 %: -1 to 0.75), below 1"),
        (-1.0, 0.75, False, HOLDS, "is -0.125 (95 %: -1 to 0.75), below 1"),
        (0.5, 1.0, False, TOO_SMALL, "where the claim has it below 1, which lies within"),
        (1.25, 3.0, False, FAILS, "is 2 (95 %: 1.25 to 3), above 1"),
        (2.0, 2.0, True, HOLDS, "it is 2, above 1"),
        (-np.inf, np.inf, True, TOO_SMALL, "(95 %: -inf to inf), where the claim has it above 1"),
    ],
)
def test_a_figure_is_on_one_side_of_its_bound_with_all_of_its_interval(
    low: float, high: float, above: bool, verdict: str, end: str
) -> None:
    middle = {1.0: 2.0, 3.0: 2.0, 0.75: -0.125, 2.0: 2.0, np.inf: 0.0}[high]
    finding = Finding("it", middle, low, high, 1.0, above)
    assert finding.verdict == verdict
    assert end in finding.told()
    needed = Finding("it", middle, low, high, 1.0, above, needed=True)
    assert needed.verdict == (HOLDS if verdict == HOLDS else TOO_SMALL)
    if verdict != HOLDS:
        side = "above" if above else "below"
        assert f"and nothing can be told unless it is {side} 1" in needed.told()


def figures(*verdicts: str, needed: str = "") -> list[Finding]:
    """Findings with these verdicts; one that is needed before all others."""
    at = {HOLDS: 2.0, TOO_SMALL: 0.0, FAILS: -2.0}
    found = [around(f"figure {n}", at[v], 1.0) for n, v in enumerate(verdicts)]
    return [*found, *([around("need", at[needed], 1.0, needed=True)] if needed else [])]


@pytest.mark.parametrize(
    ("findings", "verdict", "told", "not_told"),
    [
        (figures(HOLDS, HOLDS), HOLDS, ["figure 0", "figure 1"], []),
        (figures(HOLDS, TOO_SMALL), TOO_SMALL, ["figure 1"], ["figure 0"]),
        (figures(TOO_SMALL, FAILS, HOLDS), FAILS, ["figure 1"], ["figure 0", "figure 2"]),
        (figures(HOLDS, needed=HOLDS), HOLDS, ["figure 0", "need"], []),
        (figures(FAILS, needed=HOLDS), FAILS, ["figure 0"], ["need"]),
        (figures(FAILS, needed=TOO_SMALL), TOO_SMALL, ["need"], ["figure 0"]),
        (figures(HOLDS, needed=FAILS), TOO_SMALL, ["need"], ["figure 0"]),
    ],
)
def test_a_claim_needs_all_of_its_figures(
    findings: list[Finding], verdict: str, told: list[str], not_told: list[str], tmp_path: Path
) -> None:
    made = Outcome("A claim.", findings, "And so on.", {}, lambda ax: ax.plot([1], [1]))
    assert made.verdict == decide(iter(findings)) == verdict
    begins = {HOLDS: "It holds: ", FAILS: "It does not hold: ", TOO_SMALL: "Too small to tell: "}
    claim, sentence = made.sentence().split("\n")
    assert claim == "A claim."
    assert sentence.startswith(begins[verdict])
    assert sentence.endswith(" And so on.")
    assert [what for what in told if what not in sentence] == []
    assert [what for what in not_told if what in sentence] == []
    record = json.loads(outcome.keep("x", made, tmp_path, quick=True)[0].read_text())
    assert record["verdict"] == verdict
    assert record["figures"] == made.figures()
    assert [each["verdict"] for each in record["findings"]] == [f.verdict for f in findings]


def test_the_figure_that_decides_among_several() -> None:
    small, large, fails, open_ = (around(str(m), m, 1.0) for m in (2.0, 3.0, -4.0, 0.5))
    assert weakest([large, small]) is small
    assert weakest([large, open_, small]) is open_
    assert weakest([large, open_, fails]) is fails
    below = [around(str(m), m, 1.0, 9.0, above=False) for m in (2.0, 3.0)]
    assert weakest(below) is below[1]


def test_intervals_of_few_values() -> None:
    assert student(np.array([3.0])) == (3.0, np.inf)
    mean, half = student(np.array([1.0, 3.0]))
    assert (mean, half) == pytest.approx((2.0, 12.71 * np.sqrt(2) / np.sqrt(2)))
    # of n - 1 degrees of freedom
    for n, t in ((10, 2.262), (11, 2.228), (12, 2.201), (21, 2.086), (61, 2.000)):
        values = np.arange(n) - (n - 1) / 2
        assert student(values)[1] == pytest.approx(
            t * np.std(values, ddof=1) / np.sqrt(n), rel=5e-3
        )
    assert difference((3.0, 0.3), (1.0, 0.4)) == (2.0, pytest.approx(0.5))
    found = ratio("", [2.0, 8.0], [1.0, 2.0])
    assert found.estimate == pytest.approx(8**0.5)
    assert (found.low, found.high) == pytest.approx(
        [8**0.5 * 2.0 ** (sign * 12.71 / 2) for sign in (-1, 1)]
    )
    alone = ratio("", [2.0], [1.0])
    assert (alone.low, alone.high, alone.verdict) == (0.0, np.inf, TOO_SMALL)
    assert exactly("", 2.0, 1.0).verdict == HOLDS


# Made-up figures of every experiment, as they are kept.


def of_k1(one: float = 1e-14, two: float = 0.1) -> dict[str, Any]:
    return {"worst": one, "k = 2": [0.0, two]}


def of_sine(joint: float, half: float | None = 0.3) -> dict[str, Any]:
    mse, ci95 = {"joint": [9.0, joint], "reptile": [9.0, 1.0]}, [0.0, half and half / 3 * 4]
    return {"mse": mse, "mse_ci95": {"joint": ci95, "reptile": [0.0, half]}}


def of_taylor(low: float = -1.99, high: float = -1.98, slope: float = 2.8) -> dict[str, Any]:
    row = {"algorithm": "MAML", "of": "inner", "k": 2, "expected": -2.0}
    alphas = [1e-2, 1e-3, 1e-4]
    uneven = [1.0, 10**-0.1, 1.0]  # from one alpha to the next, 0.1 more and 0.1 less
    return {
        "coefficients": [{**row, "found": -2.0, "low": -2.01, "high": -1.99},
                         {**row, "found": (low + high) / 2, "low": low, "high": high}],
        "alphas": alphas,
        "remainders": {"MAML": [a**2 for a in alphas],
                       "FOMAML": [u * a**slope for u, a in zip(uneven, alphas, strict=True)]},
    }  # fmt: skip


def of_cosines(start: float, joint: float, end: float = 0.5) -> dict[str, Any]:
    rows = [{"cosine": c, "ci95": h} for c, h in ((start, 0.03), (0.9, 0.0), (end, 0.04))]
    return {"Reptile": rows, "joint training": [rows[0], {"cosine": joint, "ci95": 0.03}]}


def of_variance(
    share: float = 0.1, ci95: float = 0.05, halfway: tuple = (20, 22, 25),
    end: tuple = (90, 95, 99), least: float = 0.5, reptile: tuple = (10, 11, 12),
) -> dict[str, Any]:  # fmt: skip
    rows = [
        {"algorithm": name, "iteration": mark, "variance": v, "ci95": ci95}
        for mark in (0, 100)
        for name, v in (("Reptile", share if mark else 0.1), ("FOMAML", 0.9), ("MAML", 0.5))
    ]
    race = {
        "meta_batch": 5, "iterations": 100, "start": 4.0,
        "levels": {"half way": 1.4, "at the end": 0.5},
        "least": {"Reptile": least, "MAML": 1.2, "FOMAML": 0.01},
        "reached": {level: {"Reptile": {"each_run": reptile}, "MAML": {"each_run": other},
                            "FOMAML": {"each_run": [1.0, 1.0, 1.0]}}
                    for level, other in (("half way", halfway), ("at the end", end))},
    }  # fmt: skip
    return {"rows": rows, "races": [race]}


def of_manifolds(
    joint: tuple = (3.0, 3.5, 4.0), random: tuple = (5.0, 6.0, 7.5),
    off: tuple = (0.01, 0.011, 0.012),
) -> dict[str, Any]:  # fmt: skip
    ways = {"Reptile": [1.0, 1.5, 2.0], "joint training": joint, "random": random}
    return {"distances": ways, "off": off}


def of_cost(few: tuple = (2.0, 2.1), many: tuple = (3.0, 3.1), held: tuple = (2, 5, 8.1)) -> dict:
    return {
        "steps": [2, 5, 8], "tasks": 5, "parameters": 100, "itemsize": 4,
        "rounds": {"maml": [few, [1.0, 1.0], many], "reptile": [[1.0, 1.0]] * 3},
        "peak_bytes": {"maml": [70 + 2000 * n for n in held], "reptile": [70, 70, 70]},
    }  # fmt: skip


def of_sums(ci95: float = 0.01, start: float = 0.4, **ends: float) -> dict[str, Any]:
    names = {"one": "g1", "two": "g1 + g2", "half": "(g1 + g2) / 2", "last": "g2",
             "three": "g1 + g2 + g3", "four": "g1 + g2 + g3 + g4"}  # fmt: skip
    made = {"one": 0.3, "two": 0.6, "last": 0.5, "four": 0.7, **ends}
    row = {"ci95": ci95}
    return {"curves": {names[n]: [{"accuracy": start, **row}, {"accuracy": made[n], **row}]
                       for n in names if n in made}}  # fmt: skip


def of_tails(shared: float = 0.25, half: float | None = 0.01, **others: float) -> dict[str, Any]:
    curves = {"shared": "shared tail, cycling", "anew": "shared tail, replacement",
              "apart": "separate tail, cycling", "reptile": "Reptile, cycling"}  # fmt: skip
    ends = {"shared": shared, "anew": 0.1, "apart": 0.5, "reptile": 0.6, **others}
    point = {"transductive_accuracy_ci95": half}
    panel = {
        curve: [{**point, "transductive_accuracy": a} for a in (0.5, 0.9, ends[name])]
        for name, curve in curves.items()
    }
    level = {curve: [points[0]] * 3 for curve, points in panel.items()}
    return {"panels": {"inner_batch": (5, 7, 10), "epsilon": (0.1, 0.2, 1.0)},
            "accuracy": {"inner_batch": panel, "epsilon": level}}  # fmt: skip


def of_sizes(ci95: float = 0.01, start: float = 0.3, **of_adam: float) -> dict[str, Any]:
    """Accuracies on equal tasks, t5, and in equal iterations, i5; some with an outer Adam alone."""
    row, made = {"ci95": ci95}, {"t1": 0.7, "t5": 0.7, "t20": 0.65, "t100": 0.6,
                                 "i1": 0.5, "i5": 0.6, "i20": 0.65, "i100": 0.66}  # fmt: skip
    curves = {
        equal: {outer: {size: [{**row, "accuracy": 0.9},
                               {**row, "accuracy": {**made, **changed}[equal[0] + size]}]
                        for size in ("1", "5", "20", "100")}
                for outer, changed in (("no outer optimizer", {}), ("outer Adam", of_adam))}
        for equal in ("tasks", "iterations")
    }  # fmt: skip
    return {"tasks": 400, "untrained": {**row, "accuracy": start}, "curves": curves}


Case = tuple[str, Callable[..., dict[str, Any]], dict[str, Any], str]
CASES: list[Case] = [
    ("k1", of_k1, {}, HOLDS),
    ("k1", of_k1, {"one": 0.9e-11, "two": 1.1e-11}, HOLDS),
    ("k1", of_k1, {"one": 1.1e-11}, FAILS),
    ("k1", of_k1, {"two": 0.9e-11}, TOO_SMALL),  # two inner steps should be seen to differ
    ("sine", of_sine, {"joint": 1.51}, HOLDS),
    ("sine", of_sine, {"joint": 1.49}, TOO_SMALL),  # 0.5 is the half-width of the difference
    ("sine", of_sine, {"joint": 0.51}, TOO_SMALL),
    ("sine", of_sine, {"joint": 0.49}, FAILS),
    ("sine", of_sine, {"joint": 1.01, "half": None}, HOLDS),
    ("taylor", of_taylor, {}, HOLDS),
    ("taylor", of_taylor, {"low": -2.039}, HOLDS),
    ("taylor", of_taylor, {"low": -2.041}, TOO_SMALL),
    ("taylor", of_taylor, {"low": -1.97, "high": -1.961}, HOLDS),
    ("taylor", of_taylor, {"low": -1.97, "high": -1.959}, TOO_SMALL),
    ("taylor", of_taylor, {"low": -1.959, "high": -1.95}, FAILS),
    ("taylor", of_taylor, {"low": -2.06, "high": -2.05}, FAILS),
    ("taylor", of_taylor, {"slope": 2.8}, HOLDS),  # 1.27 is the half-width of the power
    ("taylor", of_taylor, {"slope": 2.7}, TOO_SMALL),
    ("taylor", of_taylor, {"slope": 0.2}, FAILS),
    ("inner-products", of_cosines, {"start": 0.449, "joint": 0.449}, HOLDS),
    ("inner-products", of_cosines, {"start": 0.451, "joint": 0.1}, TOO_SMALL),
    ("inner-products", of_cosines, {"start": 0.1, "joint": 0.451}, TOO_SMALL),
    ("inner-products", of_cosines, {"start": 0.551, "joint": 0.1}, FAILS),
    ("inner-products", of_cosines, {"start": 0.1, "joint": 0.551}, FAILS),
    ("variance", of_variance, {}, HOLDS),
    ("variance", of_variance, {"share": 0.42}, HOLDS),
    ("variance", of_variance, {"share": 0.44}, TOO_SMALL),
    ("variance", of_variance, {"share": 0.58}, FAILS),
    ("variance", of_variance, {"halfway": (8, 12, 11)}, TOO_SMALL),
    ("variance", of_variance, {"halfway": (5, 6, 6)}, FAILS),  # at the end it is ahead
    ("variance", of_variance, {"end": (90, None, 95)}, HOLDS),
    ("variance", of_variance, {"end": (9, None, 12)}, TOO_SMALL),
    ("variance", of_variance, {"reptile": (None, None, None)}, FAILS),
    ("variance", of_variance, {"halfway": (5, 6, 6), "least": 1.01}, TOO_SMALL),  # nothing learned
    ("manifolds", of_manifolds, {}, HOLDS),
    ("manifolds", of_manifolds, {"joint": (0.0, 4.0, 3.0)}, TOO_SMALL),
    ("manifolds", of_manifolds, {"random": (0.5, 0.9, 1.2)}, FAILS),
    ("manifolds", of_manifolds, {"off": (0.018, 0.019, 0.02)}, TOO_SMALL),
    ("manifolds", of_manifolds, {"off": (0.028, 0.029, 0.03)}, FAILS),
    ("cost", of_cost, {}, HOLDS),
    ("cost", of_cost, {"few": (0.5, 2.0)}, TOO_SMALL),
    ("cost", of_cost, {"few": (0.8, 0.81), "many": (0.9, 0.91)}, FAILS),
    ("cost", of_cost, {"few": (0.5, 0.51), "many": (1.0, 1.1)}, TOO_SMALL),
    ("cost", of_cost, {"few": (3.1, 3.0)}, TOO_SMALL),
    ("cost", of_cost, {"many": (1.5, 1.6)}, FAILS),
    ("cost", of_cost, {"held": (2, 5, 5)}, TOO_SMALL),
    ("cost", of_cost, {"held": (8.1, 5, 2)}, FAILS),
    ("gradient-combinations", of_sums, {}, HOLDS),
    ("gradient-combinations", of_sums, {"one": 0.485}, HOLDS),
    ("gradient-combinations", of_sums, {"one": 0.487}, TOO_SMALL),
    ("gradient-combinations", of_sums, {"one": 0.52}, FAILS),
    ("gradient-combinations", of_sums, {"four": 0.61}, TOO_SMALL),
    ("gradient-combinations", of_sums, {"four": 0.58}, FAILS),
    ("gradient-combinations", of_sums, {"last": 0.99, "half": 0.99}, HOLDS),  # no sums
    ("gradient-combinations", of_sums, {"three": 0.605}, HOLDS),  # a point less counts for nothing
    ("gradient-combinations", of_sums, {"three": 0.595}, TOO_SMALL),
    ("gradient-combinations", of_sums, {"three": 0.57}, FAILS),
    ("gradient-combinations", of_sums, {"start": 0.69}, TOO_SMALL),
    ("gradient-combinations", of_sums, {"one": 0.8, "start": 0.8}, TOO_SMALL),
    ("overlap", of_tails, {}, HOLDS),
    ("overlap", of_tails, {"shared": 0.485}, HOLDS),
    ("overlap", of_tails, {"shared": 0.487}, TOO_SMALL),
    ("overlap", of_tails, {"shared": 0.52}, FAILS),
    ("overlap", of_tails, {"apart": 0.465}, HOLDS),  # but for five points
    ("overlap", of_tails, {"apart": 0.463}, TOO_SMALL),
    ("overlap", of_tails, {"reptile": 0.43}, FAILS),
    ("overlap", of_tails, {"half": None, "shared": 0.499}, HOLDS),
    ("meta-batch", of_sizes, {}, HOLDS),
    ("meta-batch", of_sizes, {"i100": 0.515}, HOLDS),  # 1.41 is the half-width of a difference
    ("meta-batch", of_sizes, {"i100": 0.512}, TOO_SMALL),
    ("meta-batch", of_sizes, {"i100": 0.48}, FAILS),
    ("meta-batch", of_sizes, {"i5": 0.531}, HOLDS),  # 2 of one of gains
    ("meta-batch", of_sizes, {"i5": 0.529}, TOO_SMALL),
    ("meta-batch", of_sizes, {"i5": 0.48}, FAILS),
    ("meta-batch", of_sizes, {"t100": 0.685}, HOLDS),
    ("meta-batch", of_sizes, {"t100": 0.687}, TOO_SMALL),
    ("meta-batch", of_sizes, {"t100": 0.72}, FAILS),
    ("meta-batch", of_sizes, {"start": 0.69, "t100": 0.72}, TOO_SMALL),  # nothing learned
]


@pytest.mark.parametrize(("name", "made_up", "changed", "verdict"), CASES)
def test_what_an_experiment_concludes(
    name: str, made_up: Callable[..., dict[str, Any]], changed: dict[str, Any], verdict: str
) -> None:
    module = import_module(f"minireptile.reproduce.{name.replace('-', '_')}")
    assert decide(module.findings(made_up(**changed))) == verdict


def test_every_experiment_can_end_in_three_ways() -> None:
    for name in EXPERIMENTS:
        assert {case[3] for case in CASES if case[0] == name} == {HOLDS, FAILS, TOO_SMALL}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_on_record_follows_from_its_figures(name: str) -> None:
    record = json.loads((CLAIMS / f"{name}.json").read_text())
    module = import_module(f"minireptile.reproduce.{name.replace('-', '_')}")
    findings = module.findings(record["data"])
    assert record["verdict"] == decide(findings)
    for kept, found in zip(record["findings"], findings, strict=True):
        assert (kept["what"], kept["verdict"]) == (found.what, found.verdict)
        assert kept["estimate"] == pytest.approx(found.estimate)
        assert kept["low"] == pytest.approx(found.low)
    told = Outcome("", findings, "", {}, print).figures()
    assert record["figures"].count("95 %") == told.count("95 %")


@pytest.mark.parametrize(
    ("changed", "verdict", "begins"),
    [
        ({}, HOLDS, "It holds: "),
        ({"one": 1.0}, FAILS, "It does not hold: "),
        ({"two": 0.0}, TOO_SMALL, "Too small to tell: "),
    ],
)
def test_a_measurement_is_a_success_whatever_it_finds(
    changed: dict[str, float], verdict: str, begins: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    right = k1.findings
    apart(monkeypatch, {k: [0.5] * 200 for k in (1, 2)})
    monkeypatch.setattr(k1, "findings", lambda data: right(of_k1(**changed)))
    options = ["--quick", "--backend", "numpy", "--out", str(tmp_path)]
    assert main(["reproduce", "k1", *options]) == 0
    assert f"\n{begins}" in capsys.readouterr().out
    assert json.loads((tmp_path / "k1.json").read_text())["verdict"] == verdict
