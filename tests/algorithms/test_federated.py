"""Reptile is federated averaging: its settings and the algorithms of the federated papers, written
here from their pseudocode, in NumPy alone, give the same numbers (kernels/federated.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import SGD, Adam, Dense, Loops, Model, Sine, Snapshot, Tanh, fomaml, reptile
from minireptile.optim import Optimizer
from minireptile.tasks.base import Task, Tasks

Batch = tuple[NDArray, NDArray]
Client = Sequence[Batch]  # its mini-batches, in the order of its local steps
Server = Callable[[NDArray, NDArray], NDArray]  # (w, mean of the clients' differences) -> new w

H, ALPHA, ROUNDS, COHORT = 4, 0.05, 6, 3
MODEL = Model([Dense(H), Tanh(), Dense(1)], (1,), "squared_error", dtype="float64")
LOOPS = Loops(
    ROUNDS, meta_batch=COHORT, epsilon=1.0, epsilon_final=1.0, inner_steps=5, inner_batch=4,
    train_shots=10, state="fresh",
)  # fmt: skip
START = MODEL.init(0)


# The papers' algorithms, on a network of one hidden layer.


def gradient(w: NDArray, x: NDArray, y: NDArray) -> NDArray:
    """Of the mean squared error on x (B, 1), y (B, 1)."""
    first, bias, second, last = w[:H], w[H : 2 * H], w[2 * H : 3 * H], w[3 * H]
    h = np.tanh(x * first + bias)
    dout = 2 * (h @ second + last - y[:, 0]) / len(x)
    dh = dout[:, None] * second * (1 - h**2)
    return np.concatenate([(x * dh).sum(0), dh.sum(0), h.T @ dout, [dout.sum()]])


def client_update(w: NDArray, batches: Client, eta: float) -> NDArray:
    """McMahan et al. 2017, Algorithm 1, ClientUpdate."""
    for x, y in batches:
        w = w - eta * gradient(w, x, y)
    return w


def federated_averaging(
    w: NDArray, rounds: Sequence[Sequence[Client]], counts: Sequence[int], eta: float
) -> NDArray:
    """McMahan et al. 2017, Algorithm 1: the sum of n_k / n w_k, over the cohort of each round."""
    for cohort in rounds:
        weighted = [
            n / sum(counts) * client_update(w, client, eta)
            for n, client in zip(counts, cohort, strict=True)
        ]
        w = np.sum(weighted, axis=0)
    return w


def federated_sgd(w: NDArray, rounds: Sequence[Sequence[Client]], eta: float) -> NDArray:
    """The same paper's FedSGD: the clients send gradients at w, of all of their examples."""
    for cohort in rounds:
        w = w - eta * np.mean([gradient(w, *client[0]) for client in cohort], axis=0)
    return w


def fed_opt(
    w: NDArray, rounds: Sequence[Sequence[Client]], eta: float, server: Server
) -> NDArray:  # fmt: skip
    """Reddi et al. 2021, Algorithm 1: any optimizer, with the mean difference as -gradient."""
    for cohort in rounds:
        w = server(w, np.mean([client_update(w, client, eta) - w for client in cohort], axis=0))
    return w


def fed_avg_m(beta: float, eta: float = 1.0) -> Server:
    """Hsu et al. 2019: v <- beta v + difference, w <- w + v."""
    v = np.zeros_like(START)

    def server(w: NDArray, delta: NDArray) -> NDArray:
        nonlocal v
        v = beta * v + delta
        return w + eta * v

    return server


def fed_adam(
    rates: Iterable[float], tau: float, beta1: float, beta2: float, first: float
) -> Server:
    """Reddi et al. 2021, Algorithm 2, FedAdam; with a rate for each round, and v_{-1} = first."""
    m, v, left = np.zeros_like(START), np.full_like(START, first), iter(rates)

    def server(w: NDArray, delta: NDArray) -> NDArray:
        nonlocal m, v
        m = beta1 * m + (1 - beta1) * delta
        v = beta2 * v + (1 - beta2) * delta**2
        return w + next(left) * m / (np.sqrt(v) + tau)

    return server


# Reptile's side.


class Clients:
    """A finite set of clients, each with the same examples whenever it is asked; as in a federated
    run, the server draws which: here one after another, as `order` says."""

    input_shape, n_out = (1,), 1

    def __init__(self, order: Sequence[int], examples: int) -> None:
        rng = np.random.default_rng(0)
        self.order, self.asked = order, 0
        self.x = rng.uniform(-2, 2, (max(order) + 1, examples, 1)).astype(np.float32)
        self.y = np.sin(self.x + np.arange(max(order) + 1)[:, None, None]).astype(np.float32)

    def draw(self, rng: np.random.Generator, shot: int, query: int) -> Task:
        client = self.order[self.asked % len(self.order)]
        self.asked += 1
        x, y = self.x[client][:shot], self.y[client][:shot]
        return Task(x, y, x[:query], y[:query])


def end(
    loops: Loops, tasks: Tasks | None = None, state: dict[str, NDArray] | None = None
) -> NDArray:
    """Where Reptile's theta ends."""
    start = Snapshot(0, START, state, np.empty((0, 0))) if state else None
    *_, last = reptile(MODEL, tasks or Sine(), SGD(ALPHA), loops, start)
    return last.theta


def cohorts(loops: Loops, tasks: Tasks | None = None) -> list[list[Client]]:
    """The mini-batches of each round and client."""
    rounds: list[list[Client]] = []
    for it in range(loops.iterations):
        x, y = loops.sample(tasks or Sine(), it)
        rounds.append([list(zip(x[:, t], y[:, t], strict=True)) for t in range(loops.meta_batch)])
    return rounds


def assert_same(theta: NDArray, w: NDArray) -> None:
    """To rounding: of sums of tens of numbers of about 1, in some tens of steps."""
    np.testing.assert_allclose(theta, w, rtol=0, atol=1e-13)
    assert np.linalg.norm(w - START) > 1e-3  # it went somewhere


def test_an_outer_step_of_one_is_federated_averaging() -> None:
    w = federated_averaging(START, cohorts(LOOPS), [1] * COHORT, ALPHA)
    assert_same(end(LOOPS), w)


def test_local_epochs_are_dealt_out_in_inner_steps() -> None:
    """E passes over n examples in mini-batches of B are k = E n / B inner steps."""
    epochs, n, batch = 2, 8, 4
    loops = replace(LOOPS, inner_steps=epochs * n // batch, inner_batch=batch, train_shots=n)
    for cohort in cohorts(loops):
        for client in cohort:
            passes = np.array([x for x, _ in client]).reshape(epochs, n)
            np.testing.assert_array_equal(np.sort(passes[0]), np.sort(passes[1]))
            assert len(set(passes[0])) == n
    assert_same(end(loops), federated_averaging(START, cohorts(loops), [1] * COHORT, ALPHA))


def test_a_task_in_several_places_has_so_much_more_weight() -> None:
    """n_k / n of clients with 1, 3 and 2 times as many examples."""
    counts, order = [1, 3, 2], [0, 1, 1, 1, 2, 2]
    many = replace(LOOPS, meta_batch=len(order), inner_batch=4, train_shots=4)  # B = n
    each = cohorts(replace(many, meta_batch=len(counts)), Clients([0, 1, 2], 4))
    assert_same(
        end(many, Clients(order, 4)), federated_averaging(START, each, counts, ALPHA)
    )  # fmt: skip


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 1.5])
def test_one_inner_step_is_federated_sgd(epsilon: float) -> None:
    loops = replace(
        LOOPS, epsilon=epsilon, epsilon_final=epsilon, inner_steps=1, inner_batch=10
    )  # fmt: skip
    assert_same(end(loops), federated_sgd(START, cohorts(loops), epsilon * ALPHA))


@pytest.mark.parametrize("eta", [0.3, 1.0, 1.5])
def test_epsilon_is_the_servers_rate(eta: float) -> None:
    loops = replace(LOOPS, epsilon=eta, epsilon_final=eta)
    assert_same(end(loops), fed_opt(START, cohorts(loops), ALPHA, lambda w, d: w + eta * d))


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_an_outer_momentum_is_fed_avg_m(eta: float) -> None:
    outer: Optimizer = SGD(1.0, momentum=0.9)
    loops = replace(LOOPS, epsilon=eta, epsilon_final=eta, outer=outer)
    assert_same(end(loops), fed_opt(START, cohorts(loops), ALPHA, fed_avg_m(0.9, eta)))


def test_an_outer_adam_is_fed_adam_whose_rate_warms_up() -> None:
    """Algorithm 2 is without Adam's corrections, and begins at tau^2; these are all of its rate."""
    eta, tau, beta1, beta2 = 0.02, 1e-3, 0.9, 0.99
    loops = replace(LOOPS, outer=Adam(eta, beta1, beta2, tau))
    t = np.arange(1, ROUNDS + 1)
    rates = eta * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    server = fed_adam(rates, tau, beta1, beta2, 0.0)
    assert_same(end(loops), fed_opt(START, cohorts(loops), ALPHA, server))


def test_an_outer_adam_that_counts_from_far_on_is_fed_adam() -> None:
    """Where the corrections are 1, in every digit; v begins at tau^2, as the paper has it."""
    eta, tau, beta1, beta2 = 0.02, 1e-3, 0.9, 0.99
    loops = replace(LOOPS, outer=Adam(eta, beta1, beta2, tau))
    state = {
        "outer.m": np.zeros_like(START), "outer.v": np.full_like(START, tau**2),
        "outer.t": np.array(10**6),
    }  # fmt: skip
    server = fed_adam([eta] * ROUNDS, tau, beta1, beta2, tau**2)
    assert_same(end(loops, state=state), fed_opt(START, cohorts(loops), ALPHA, server))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_an_update_is_that_of_fed_sgd_and_of_shorter_fomaml(k: int) -> None:
    """Jiang et al. 2019: the first of the k steps is FedSGD's; step i is first-order MAML's, of
    i - 1 inner steps."""
    loops = replace(LOOPS, iterations=1, inner_steps=k)
    parts = []
    for i in range(1, k + 1):
        (run,) = fomaml(MODEL, Sine(), SGD(ALPHA), replace(loops, inner_steps=i))
        parts.append(run.theta - START)
    first = [[client[:1] for client in cohort] for cohort in cohorts(loops)]
    np.testing.assert_allclose(
        parts[0], federated_sgd(START, first, ALPHA) - START, rtol=0, atol=1e-13
    )
    assert_same(end(loops), START + sum(parts))
