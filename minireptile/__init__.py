"""minireptile: Reptile meta-learning with hand-derived layers and its loops in the open.

``import minireptile as mr`` needs NumPy alone; everything else loads when it is first used.
"""

from importlib import import_module
from types import ModuleType

from .errors import InputError, MissingPackage
from .evaluate import Accuracy, Protocol, Regression, evaluate, evaluate_regression
from .fomaml import fomaml
from .imaml import imaml
from .joint import joint
from .layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool, ReLU, Tanh
from .loops import Loops, Snapshot
from .maml import maml
from .model import Model
from .networks import miniimagenet_cnn, omniglot_cnn, sine_mlp
from .optim import SGD, Adam
from .reptile import adapt, reptile

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Accuracy",
    "Adam",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "Flatten",
    "InputError",
    "Loops",
    "MaxPool",
    "MissingPackage",
    "Model",
    "Protocol",
    "ReLU",
    "Regression",
    "Snapshot",
    "Tanh",
    "adapt",
    "evaluate",
    "evaluate_regression",
    "fomaml",
    "imaml",
    "joint",
    "maml",
    "miniimagenet_cnn",
    "omniglot_cnn",
    "reptile",
    "sine_mlp",
    "testing",
]


def __getattr__(name: str) -> ModuleType:
    if name == "testing":  # when first used: the library does not need it
        return import_module(".testing", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
