"""What FOMAML, MAML and iMAML have in common, with each other and with Reptile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minireptile import (
    SGD,
    Adam,
    Dense,
    InputError,
    Loops,
    Model,
    Protocol,
    evaluate_regression,
    fomaml,
    imaml,
    maml,
    sine_mlp,
)
from minireptile.delegate import begin
from minireptile.loops import TAILS
from minireptile.optim import POLICIES, Optimizer
from minireptile.tasks.base import Tasks
from minireptile.tasks.sine import Sine
from tests.gpu.cuda_on_cpu_build import COMPILER, SUPPORTED
from tests.gpu.gpu_stand_in import stand_in
from tests.small import assert_same_state, relative, tiny_model

from .relatives import (
    OUTERS,
    TASKS,
    assert_continues,
    every_algorithm,
    every_outer,
    every_relative,
    last,
    small_loops,
)


@every_relative
@every_outer
@pytest.mark.parametrize("policy", POLICIES)
def test_epsilon_zero_changes_nothing(algorithm: Any, outer: Optimizer | None, policy: str) -> None:
    loops = small_loops(epsilon=0.0, epsilon_final=0.0, outer=outer, state=policy)
    model = tiny_model()
    for run in algorithm(model, TASKS, SGD(0.1, 0.5), loops):
        assert run.theta.tobytes() == model.init(loops.seed).tobytes()


@every_relative
@pytest.mark.parametrize(
    ("outer", "policy", "tail"),  # every two of them meet
    [
        (outer, policy, TAILS[(i + j) % 2])
        for i, outer in enumerate([None, *OUTERS.values()])
        for j, policy in enumerate(POLICIES)
    ],
)
def test_continuing_is_the_same_bit_for_bit(
    algorithm: Any, outer: Optimizer | None, policy: str, tail: str
) -> None:
    loops = small_loops(outer=outer, state=policy, tail=tail)
    assert_continues(algorithm, SGD(0.05, 0.8), loops)


@every_relative
def test_without_a_state_it_does_not_matter_who_runs_beside_whom(algorithm: Any) -> None:
    runs = [
        last(algorithm(tiny_model(), TASKS, SGD(0.1), small_loops(state=policy)))
        for policy in POLICIES
    ]
    for run in runs[1:]:
        assert relative(run.theta, runs[0].theta) < 1e-12
        assert relative(run.loss, runs[0].loss) < 1e-12


@every_relative
def test_fresh_leaves_the_shared_state_alone(algorithm: Any) -> None:
    inner, loops = SGD(0.1, 0.9), small_loops(state="fresh")
    run = last(algorithm(tiny_model(), TASKS, inner, loops))
    assert_same_state(run.state, begin(tiny_model(), inner, loops).state)


@every_relative
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_types_of_a_snapshot(algorithm: Any, dtype: str) -> None:
    model = tiny_model(dtype=dtype)
    inner = SGD(0.1, 0.9)
    run = last(algorithm(model, TASKS, inner, small_loops(outer=Adam())))
    assert (run.theta.shape, run.theta.dtype) == ((model.size,), np.dtype(dtype))
    assert (run.loss.shape, run.loss.dtype) == ((3, 3), np.dtype(dtype))
    fresh = begin(model, inner, small_loops(outer=Adam()))
    for name in ("velocity", "outer.m", "outer.v", "outer.t"):
        assert run.state[name].shape == fresh.state[name].shape
        assert run.state[name].dtype == fresh.state[name].dtype
    assert run.state.keys() == fresh.state.keys()
    assert int(run.state["outer.t"]) == 4
    assert list(algorithm(model, TASKS, inner, small_loops(iterations=0))) == []


@every_relative
def test_float32_is_float64_rounded(algorithm: Any) -> None:
    runs = [
        last(algorithm(tiny_model(dtype=dtype), TASKS, SGD(0.1), small_loops(iterations=1)))
        for dtype in ("float32", "float64")
    ]
    assert relative(runs[0].theta, runs[1].theta) < 1e-5


@pytest.mark.parametrize("algorithm", [fomaml, imaml])
def test_adam_inside(algorithm: Any) -> None:
    run = last(algorithm(tiny_model(), TASKS, Adam(0.001), small_loops(prox=100.0)))
    assert int(run.state["t"]) == 4 * (3 if algorithm is fomaml else 2)


@pytest.mark.skipif(not (COMPILER and SUPPORTED), reason="needs g++ on Linux")
@every_outer
@every_algorithm
def test_on_a_gpu_the_same_comes_out(algorithm: Any, outer: Optimizer | None) -> None:
    """One that the CPU stands in for."""
    inner, loops = SGD(0.1, 0.5), small_loops(iterations=2, outer=outer)
    wanted = last(algorithm(tiny_model(), TASKS, inner, loops))
    with stand_in():
        got = last(algorithm(tiny_model(backend="cupy"), TASKS, inner, loops))
        assert relative(got.theta, wanted.theta) < 1e-10
        assert relative(got.loss, wanted.loss) < 1e-10
        assert got.state.keys() == wanted.state.keys()


@pytest.mark.parametrize("algorithm", [fomaml, maml, pytest.param(imaml, marks=pytest.mark.long)])
def test_sine_waves_are_learned_to_be_learned(algorithm: Any) -> None:
    """After training, five steps on an unseen wave lead further."""
    model, inner = sine_mlp(), SGD(0.02)
    loops = Loops(
        800, meta_batch=1, train_shots=50, tail="separate", tail_shots=10, prox=90.0,
        epsilon_final=0.5, outer=Adam(0.002),
    )  # fmt: skip
    protocol = Protocol(tasks=50, shot=10, marks=(0, 5), batch=10)
    start = begin(model, inner, loops)
    before, after = (
        evaluate_regression(model, run.theta, run.state, Sine(), inner, protocol).mse
        for run in (start, last(algorithm(model, Sine(), inner, loops)))
    )
    assert after[1] < 0.75 * before[1]


# ------------------------------------------------------------------------------------------- errors


@every_relative
def test_divergence_is_reported(algorithm: Any) -> None:
    model = Model([Dense(1)], (1,), "squared_error")
    loops = small_loops(iterations=50, cg_tolerance=0.5)  # curvature 17, and prox 5
    with (
        np.errstate(all="ignore"),
        pytest.raises(InputError, match=r"the run diverged: .* in iteration \d+; lower --inner-lr"),
    ):
        last(algorithm(model, Sine(), SGD(0.35), loops))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tail": "own"}, "tail must be one of shared, separate, not 'own'"),
        ({"tail_shots": 0}, "tail_shots must be at least 1, not 0"),
        ({"tail": "separate", "tail_shots": 4}, "of 4 examples a class leaves none of 4 to adapt"),
        ({"prox": 0.0}, "Loops: prox must be positive, not 0.0"),
        ({"prox": -1.0}, "must be positive, not -1.0"),
        ({"prox": float("nan")}, "must be positive, not nan"),
        ({"prox": float("inf")}, "must be positive, not inf"),
        ({"cg_steps": 0}, "cg_steps must be at least 1, not 0"),
        ({"cg_tolerance": -0.1}, r"cg_tolerance must lie in \[0, 1\), not -0.1"),
        ({"cg_tolerance": 1.0}, r"cg_tolerance must lie in \[0, 1\), not 1.0"),
        ({"outer": "adam"}, r"outer must be SGD\(...\), Adam\(...\) or None, not 'adam'"),
    ],
)
def test_wrong_numbers(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        small_loops(**changes)


@pytest.mark.parametrize(
    ("algorithm", "optimizer", "changes", "words"),
    [
        (maml, Adam(), {}, "and not of Adam: choose --optimizer sgd, or --algorithm fomaml or"),
        (
            imaml,
            SGD(0.1),
            {"inner_steps": 1},
            "^imaml needs inner_steps of at least 2: one to adapt, and the tail$",
        ),
        (imaml, SGD(0.5), {}, "steps of rate 0.5 overshoot theta when a prox of 5.0 pulls"),
        (imaml, SGD(0.5, 0.3), {"prox": 5.2}, "until their product is under 2.6"),
        (imaml, SGD(0.1, 0.0, 0.9), {}, "a weight_decay_rate of 0.9 towards zero: leave it at 1"),
    ],
)
def test_what_cannot_be_done_is_said_first(
    algorithm: Any, optimizer: Optimizer, changes: dict[str, Any], words: str
) -> None:
    class Untouched:
        def draw(self, *arguments: Any) -> Any:
            raise AssertionError("a task was drawn")

    tasks: Tasks = Untouched()  # type: ignore[assignment]
    with pytest.raises(InputError, match=words):
        next(algorithm(tiny_model(), tasks, optimizer, small_loops(**changes)))
