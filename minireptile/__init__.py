"""minireptile: Reptile meta-learning with hand-derived layers and its loops in the open.

``import minireptile as mr`` needs NumPy alone; everything else loads when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import InputError, MissingPackage
from .evaluate import Accuracy, Protocol, Regression, evaluate, evaluate_regression
from .fomaml import fomaml
from .imaml import imaml
from .joint import joint
from .layers import BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool, Param, ReLU, Tanh
from .loops import Loops, Snapshot
from .maml import maml
from .model import Model
from .networks import miniimagenet_cnn, omniglot_cnn, sine_mlp
from .optim import SGD, Adam
from .reptile import adapt, reptile
from .tasks.images import FewShot, from_arrays
from .tasks.sine import Sine

__version__ = "0.2.0"

__all__ = [
    "SGD", "Accuracy", "Adam", "BatchNorm", "Conv2D", "Dense", "FewShot", "FewShotClassifier",
    "FewShotRegressor", "Flatten", "InputError", "Layer", "Loops", "MaxPool", "MissingPackage",
    "Model", "Param", "Protocol", "ReLU", "Regression", "Sine", "Snapshot", "Tanh", "Trained",
    "adapt", "evaluate", "evaluate_regression", "export", "fomaml", "from_arrays", "imaml",
    "import_weights", "joint", "load", "maml", "miniimagenet_cnn", "omniglot_cnn", "pretrained",
    "reptile", "sine_mlp", "testing",
]  # fmt: skip

# Public names that load when they are first used, each with the module that has it, or is it. One
# more is a line here, one below for type checkers, and one above.
LAZY = {
    "FewShotClassifier": "minireptile.estimators",
    "FewShotRegressor": "minireptile.estimators",
    "Trained": "minireptile.trained",
    "export": "minireptile.weights",
    "import_weights": "minireptile.weights",
    "load": "minireptile.runs.trained",
    "pretrained": "minireptile.runs.trained",
    "testing": "minireptile.testing",
}

if TYPE_CHECKING:
    from . import testing as testing
    from .estimators import FewShotClassifier as FewShotClassifier
    from .estimators import FewShotRegressor as FewShotRegressor
    from .runs.trained import load as load
    from .runs.trained import pretrained as pretrained
    from .trained import Trained as Trained
    from .weights import export as export
    from .weights import import_weights as import_weights
else:

    def __getattr__(name: str) -> Any:
        if name not in LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(LAZY[name])
        found = module if module.__name__.endswith(f".{name}") else getattr(module, name)
        return globals().setdefault(name, found)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
