"""The rectified linear unit, NumPy. Derivation: relu.md.

y = x where x > 0, else 0. The derivative at 0 is taken as 0.
"""

import numpy as np
from numpy.typing import NDArray


def relu_forward(y: NDArray, x: NDArray) -> None:
    """Write y = max(x, 0), any equal shapes; NaN stays NaN (relu.md, eq. 1)."""
    np.copyto(y, x)
    np.copyto(y, 0, where=x.real <= 0)


def relu_backward(dx: NDArray, dy: NDArray, x: NDArray) -> None:
    """Write dx = dy where x > 0, else 0 (relu.md, eq. 2)."""
    np.copyto(dx, dy)
    np.copyto(dx, 0, where=x.real <= 0)
