"""Proof that hand-derived gradients are right, for this product's layers and for anybody's.

    from minireptile.testing import check_gradients
    check_gradients((forward, backward), x, w, b)

Works on NumPy arrays, on a pair of functions or an object with ``forward`` and ``backward``, and on
functions of PyTorch and JAX, by `from_torch` and `from_jax`; needs nothing of the rest of the
product. Hypothesis strategies: `minireptile.testing.strategies`.
"""

from .float32 import check_float32
from .gradients import check_gradients
from .identities import IdentityError, SameError, check_adjoint, check_hvp, check_same
from .jax_adapter import from_jax
from .layers import check_layers, table
from .numeric import complex_step
from .report import Finding, GradientError, Report
from .torch_adapter import from_torch

__all__ = [
    "Finding", "GradientError", "IdentityError", "Report", "SameError", "check_adjoint",
    "check_float32", "check_gradients", "check_hvp", "check_layers", "check_same", "complex_step",
    "from_jax", "from_torch", "table",
]  # fmt: skip
