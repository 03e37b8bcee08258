"""Weights in files: they come back as they were, and mean the same in other frameworks' layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import minireptile as mr
from minireptile.weights import LAYOUTS, laid_out
from tests.small import assert_same_state, random_phi, tiny_stacks

from .small_trained import small_trained

safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")


def network() -> mr.Model:
    """Every kind of layer with parameters, on images that are no squares: 7 x 6 becomes 2 x 2."""
    block = [mr.Conv2D(3, 3, stride=2), mr.BatchNorm(), mr.ReLU()]
    layers = [*block * 2, mr.Flatten(), mr.Dense(5), mr.ReLU(), mr.Dense(4)]
    return mr.Model(layers, (7, 6, 2), dtype="float64")


def in_the_manner_of_torch(x: NDArray, t: dict[str, NDArray]) -> NDArray:
    """`network` from PyTorch's definitions: images (B, C, H, W), weights (C_out, C_in, kh, kw)."""
    x = x.transpose(0, 3, 1, 2)
    for i in (1, 2):
        pads = []
        for n in x.shape[2:]:
            p = max((-(-n // 2) - 1) * 2 + 3 - n, 0)
            pads.append((p // 2, p - p // 2))
        windows = sliding_window_view(np.pad(x, [(0, 0), (0, 0), *pads]), (3, 3), (2, 3))
        x = np.einsum("bcijkl,ockl->boij", windows[:, :, ::2, ::2], t[f"conv{i}.weight"])
        x = x + t[f"conv{i}.bias"][:, None, None]
        mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
        x = (x - mean) / np.sqrt(var + 1e-3)
        gamma, beta = t[f"batchnorm{i}.weight"], t[f"batchnorm{i}.bias"]
        x = np.maximum(gamma[:, None, None] * x + beta[:, None, None], 0)
    x = np.maximum(x.reshape(len(x), -1) @ t["dense1.weight"].T + t["dense1.bias"], 0)
    return x @ t["dense2.weight"].T + t["dense2.bias"]


def test_torchs_layout_gives_the_same_logits() -> None:
    model, rng = network(), np.random.default_rng(0)
    theta, x = random_phi(model, rng), rng.standard_normal((5, 7, 6, 2))
    found = in_the_manner_of_torch(x, laid_out(model, theta, "torch"))
    np.testing.assert_allclose(found, model.forward(theta, x), rtol=1e-10, atol=1e-10)


def test_jaxs_layout_has_flaxs_names_and_our_order() -> None:
    model = network()
    theta = random_phi(model, np.random.default_rng(0))
    ours, theirs = model.unflatten(theta), laid_out(model, theta, "jax")
    names = {"weight": "kernel", "gamma": "scale", "beta": "bias", "bias": "bias"}
    for name, array in ours.items():
        layer, _, key = name.partition(".")
        np.testing.assert_array_equal(theirs.pop(f"{layer}.{names[key]}"), array)
    assert not theirs


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", [*tiny_stacks(), "odd"])
def test_what_is_exported_comes_back(layout: str, name: str, tmp_path: Path) -> None:
    model = network() if name == "odd" else tiny_stacks()[name]
    theta = random_phi(model, np.random.default_rng(1))
    path = tmp_path / "weights.safetensors"
    mr.export(mr.Trained(model, theta, {}, mr.SGD(0.1)), path, layout)
    np.testing.assert_array_equal(mr.import_weights(path, model, layout), theta)


def test_our_own_file_holds_all_of_a_trained_model(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    trained = small_trained(card={"dataset": "noise", "way": 3}, replacement=True)
    mr.export(trained, path)
    found = mr.load(path)
    np.testing.assert_array_equal(found.theta, trained.theta)
    assert_same_state(found.state, trained.state)
    for name in ("optimizer", "steps", "batch", "replacement", "seed", "card"):
        assert getattr(found, name) == getattr(trained, name)
    assert found.model.layers == trained.model.layers
    assert found.model.plan == trained.model.plan
    assert (found.model.dtype, found.model.backend) == (trained.model.dtype, "numpy")


def test_sizes_that_are_no_squares_come_back(tmp_path: Path) -> None:
    layers = [mr.Conv2D(2, (3, 2), stride=(2, 1)), mr.MaxPool((1, 2)), mr.Flatten(), mr.Dense(3)]
    model = mr.Model(layers, (7, 6, 2))
    path = tmp_path / "a.safetensors"
    mr.export(mr.Trained(model, model.init(0), {}, mr.SGD(0.1)), path)
    assert mr.load(path).model.layers == model.layers


def test_half_rounds_numbers_and_the_root_of_the_second_moment(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    trained = small_trained(model={"dtype": "float32"})
    v = np.float32(10) ** np.random.default_rng(0).uniform(-14, -4, trained.model.size)
    momentum = replace(
        trained, optimizer=mr.SGD(0.1, momentum=0.9), state={"velocity": -v.astype(np.float32)}
    )
    trained = replace(trained, state={"v": v.astype(np.float32), "t": np.array(3)})
    mr.export(trained, path, half=True)
    found = mr.load(path)
    assert found.theta.dtype == found.state["v"].dtype == np.float32
    half = 2.0**-11
    np.testing.assert_allclose(found.theta, trained.theta, rtol=half)
    np.testing.assert_allclose(found.state["v"], v, rtol=2.1 * half)
    assert found.state["t"] == 3
    mr.export(momentum, path, half=True)
    large = v > 2e-4 * v.max()  # what lies below is less precise, in float16
    velocity = mr.load(path).state["velocity"]
    np.testing.assert_allclose(velocity[large], -v[large], rtol=half)
    np.testing.assert_allclose(velocity, -v, atol=1e-9 * float(v.max()), rtol=half)
    tensors = safetensors.load_file(path)
    assert {str(a.dtype) for a in tensors.values()} == {"float16"}


def test_a_number_beyond_float16_is_not_made_infinite(tmp_path: Path) -> None:
    trained = small_trained()
    with pytest.raises(mr.InputError, match=r"conv1\.weight holds numbers beyond float16"):
        mr.export(replace(trained, theta=trained.theta * 1e6), tmp_path / "a", half=True)
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Mine(mr.ReLU):
    """A layer of one's own."""


def test_a_layer_of_ones_own_goes_to_torch_but_not_to_our_own_file(tmp_path: Path) -> None:
    model = mr.Model([mr.Dense(3), Mine(), mr.Dense(2)], (4,))
    trained = mr.Trained(model, model.init(0), {}, mr.SGD(0.1))
    mr.export(trained, tmp_path / "a.safetensors", "torch")
    with pytest.raises(
        mr.InputError,
        match=(
            r"^Mine is no class of the library's, and a file could not bring it along: "
            r"export the parameters alone, in the layout of torch or jax$"
        ),
    ):
        mr.export(trained, tmp_path / "b.safetensors")


def test_torchs_moving_averages_are_left_out(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "a.safetensors"
    theta = random_phi(model, np.random.default_rng(0))
    tensors = {n: np.ascontiguousarray(a) for n, a in laid_out(model, theta, "torch").items()}
    more = {"batchnorm1.running_mean": np.zeros(3), "batchnorm1.num_batches_tracked": np.array([1])}
    safetensors.save_file(tensors | more, path)
    np.testing.assert_array_equal(mr.import_weights(path, model, "torch"), theta)


def edited(change: Callable[[dict[str, NDArray]], Any], path: Path, layout: str = "torch") -> Path:
    """A file of `network`'s parameters after a change."""
    model = network()
    theta = random_phi(model, np.random.default_rng(0))
    tensors = {n: np.ascontiguousarray(a) for n, a in laid_out(model, theta, layout).items()}
    change(tensors)
    safetensors.save_file(tensors, path)
    return path


CHANGES: dict[str, tuple[Callable[[dict[str, NDArray]], Any], str]] = {
    "lacks": (lambda t: t.pop("dense1.weight"), "another network.* lacks 'dense1.weight'"),
    "extra": (lambda t: t.update(fc=np.zeros(2)), "another network: it holds 'fc'"),
    "shape": (
        lambda t: t.update({"conv1.bias": np.zeros(4)}),
        r"'conv1.bias' has shape \(4,\), where this network has \(3,\)",
    ),
    "nan": (lambda t: t["conv2.bias"].fill(np.nan), "'conv2.bias' holds NaN"),
    "integers": (lambda t: t.update({"conv2.bias": np.zeros(3, int)}), "no numbers at all"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_weights_of_another_network_are_named(case: str, tmp_path: Path) -> None:
    change, sentence = CHANGES[case]
    path = edited(change, tmp_path / "a.safetensors")
    with pytest.raises(mr.InputError, match=sentence):
        mr.import_weights(path, network(), "torch")


def test_what_a_file_holds_instead_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for names, said in (("bcade", "a, b, c, d"), ("", "nothing")):
        safetensors.save_file({name: np.zeros(1) for name in names}, path)
        with pytest.raises(mr.InputError) as caught:
            mr.import_weights(path, network(), "torch")
        assert str(caught.value).endswith(f"it lacks 'conv1.weight', and holds {said}, ...")


def test_another_layout_is_told_apart(tmp_path: Path) -> None:
    path = edited(lambda t: None, tmp_path / "a.safetensors", "jax")
    with pytest.raises(mr.InputError, match="in another layout than 'torch'"):
        mr.import_weights(path, network(), "torch")
    mr.export(small_trained(), path, "torch")
    with pytest.raises(mr.InputError, match=r"layout of torch: read them with import_weights"):
        mr.load(path)


def test_no_such_file_or_no_such_format(tmp_path: Path) -> None:
    with pytest.raises(mr.InputError, match="there is no file"):
        mr.import_weights(tmp_path / "none", network())
    (tmp_path / "text").write_text("text")
    with pytest.raises(mr.InputError, match="not a readable safetensors file"):
        mr.import_weights(tmp_path / "text", network())
    with pytest.raises(mr.InputError, match="not a readable"):
        mr.import_weights(tmp_path, network())
    with pytest.raises(mr.InputError, match="layout must be one of own, torch, jax"):
        mr.export(small_trained(), tmp_path / "a", "keras")
    with pytest.raises(mr.InputError, match="export needs a Trained"):
        mr.export(tmp_path, tmp_path / "a")  # type: ignore[arg-type]


def rewritten(path: Path, **changes: str | None) -> Path:
    """Our own file with some of its metadata changed, or left out."""
    mr.export(small_trained(), path)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = {n: v for n, v in (file.metadata() | changes).items() if v is not None}
    safetensors.save_file(safetensors.load_file(path), path, metadata)
    return path


LAYERS = [{"name": "Dense", "units": 3, "bias": True}]
BROKEN: dict[str, dict[str, str | None]] = {
    "no model": {"model": None},
    "no json": {"model": "{"},
    "a list": {"model": "[]"},
    "an unknown layer": {"model": json.dumps({"layers": [{"name": "eval"}], "input_shape": [4]})},
    "an unknown number": {"optimizer": json.dumps({"name": "SGD", "lr": 0.1, "cost": 3})},
    "a wrong number": {"optimizer": json.dumps({"name": "SGD", "lr": -1})},
    "another network": {"model": json.dumps({
        "layers": LAYERS, "input_shape": [4], "loss": "squared_error", "reduction": "mean",
        "dtype": "float32",
    })},
    "another optimizer": {"optimizer": json.dumps({"name": "SGD", "lr": 0.1, "momentum": 0.5})},
    "a state that is not there": {"state": json.dumps({"m": [False, 1.0]})},
    "a state of text": {"state": json.dumps({"v": "x"})},
    "steps": {"adapt": json.dumps({"steps": "many"})},
    "a newer version": {"version": "9"},
    "a version of text": {"version": "x"},
    "another format": {"format": "other"},
}  # fmt: skip


def spoiled(path: Path, **tensors: NDArray) -> Path:
    """Our own file with other numbers in it."""
    mr.export(small_trained(), path)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    safetensors.save_file(safetensors.load_file(path) | tensors, path, metadata)
    return path


def test_what_is_spoiled_in_a_file_of_our_own_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    size = small_trained().model.size
    with pytest.raises(mr.InputError) as caught:
        mr.load(spoiled(path, **{"state.v": np.full(size, np.inf)}))
    assert str(caught.value) == ("the optimizer's state holds NaN or infinity: export it again")
    with pytest.raises(mr.InputError) as caught:
        mr.load(spoiled(path, **{"dense1.bias": np.full(3, np.nan)}))
    assert str(caught.value) == (f"{path}: 'dense1.bias' holds NaN, infinity or no numbers at all")


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_file_of_our_own_gets_one_sentence(case: str, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "a.safetensors", **BROKEN[case])
    with pytest.raises(mr.InputError) as caught:
        mr.load(path)
    assert "\n" not in str(caught.value)


def test_unchanged_metadata_can_be_read(tmp_path: Path) -> None:
    assert mr.load(rewritten(tmp_path / "a.safetensors")).steps == 6
