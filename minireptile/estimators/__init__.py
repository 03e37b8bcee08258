"""Few-shot learners that behave as scikit-learn's estimators do, and do not need scikit-learn.

``fit`` adapts a trained initialisation to a few examples; ``meta_fit`` trains one. What
scikit-learn asks of an estimator is here by its names: parameters are those of ``__init__``, what
is learned ends in an underscore, wrong input is a ValueError. scikit-learn itself is imported when
it asks for its tags, and an error or warning is of its kind where it is loaded.
"""

from .classifier import FewShotClassifier
from .regressor import FewShotRegressor

__all__ = ["FewShotClassifier", "FewShotRegressor"]
