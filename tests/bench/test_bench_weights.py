"""Exported weights in PyTorch: the same logits (make peers-test)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minireptile as mr

pytest.importorskip("safetensors", reason="safetensors is not installed")


def network(torch: Any, model: mr.Model, stride: int, pool: bool) -> Any:
    """One of the paper's networks in PyTorch, padded as TensorFlow pads."""
    nn, F = torch.nn, torch.nn.functional
    Base: Any = nn.Module
    channels, filters = model.input_shape[2], model.layers[0].filters  # type: ignore[attr-defined]

    def pad(x: Any, kernel: int, stride: int, value: float = 0.0) -> Any:
        pads: list[int] = []
        for n in x.shape[2:]:
            p = max((-(-n // stride) - 1) * stride + kernel - n, 0)
            pads = [p // 2, p - p // 2, *pads]  # PyTorch names the last axis first
        return F.pad(x, pads, value=value)

    class Network(Base):
        def __init__(self) -> None:
            super().__init__()
            for i in range(1, 5):
                conv = nn.Conv2d(channels if i == 1 else filters, filters, 3, stride)
                norm = nn.BatchNorm2d(filters, eps=1e-3, track_running_stats=False)
                self.add_module(f"conv{i}", conv)
                self.add_module(f"batchnorm{i}", norm)
            self.dense1 = nn.Linear(model.plan.steps[-1].in_shape[0], model.n_out)

        def forward(self, x: Any) -> Any:
            for i in range(1, 5):
                x = getattr(self, f"conv{i}")(pad(x, 3, stride))
                x = getattr(self, f"batchnorm{i}")(x)
                x = F.relu(F.max_pool2d(pad(x, 2, 2, -np.inf), 2) if pool else x)
            return self.dense1(x.flatten(1))

    return Network()


@pytest.mark.parametrize("name", ["omniglot", "miniimagenet"])
def test_framework_torch_gives_the_same_logits_with_exported_weights(
    name: str, tmp_path: Path
) -> None:
    """In double precision to its rounding; in single, to 1e-5 of the largest logit: 84 roundings,
    where the longest sums, over 9 x 64 products, would be off by 24 if they were independent."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: make peers-test")
    load = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    omniglot = name == "omniglot"
    model = mr.omniglot_cnn() if omniglot else mr.miniimagenet_cnn()
    rng = np.random.default_rng(0)
    theta = model.init(0) + np.float32(0.1) * rng.standard_normal(model.size).astype(np.float32)
    x = rng.random((6, *model.input_shape), np.float32)
    path = tmp_path / "weights.safetensors"
    mr.export(mr.Trained(model, theta, {}, mr.SGD(0.1)), path, "torch")
    theirs = network(torch, model, 2 if omniglot else 1, pool=not omniglot)
    theirs.load_state_dict(load.load_file(path), strict=True)

    images = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    with torch.no_grad():
        single = theirs(images).numpy()
        double = theirs.double()(images.double()).numpy()
    wanted = model.forward(theta.astype(np.float64), x.astype(np.float64))
    largest = abs(wanted).max()
    np.testing.assert_allclose(double, wanted, atol=1e-13 * largest, rtol=0)
    np.testing.assert_allclose(single, wanted, atol=1e-5 * largest, rtol=0)
    np.testing.assert_allclose(model.forward(theta, x), wanted, atol=1e-5 * largest, rtol=0)

    load.save_file({n: a.float() for n, a in theirs.state_dict().items()}, path)
    np.testing.assert_array_equal(mr.import_weights(path, model, "torch"), theta)
