"""The first meta-iteration of a process, which may compile, and the next one.

    python -m bench.start NETWORK BACKEND

Prints JSON: seconds of the imports, of the first meta-iteration and of the second.
"""

import sys
from time import perf_counter

BEGIN = perf_counter()  # before the imports, which are measured as well


def main(arguments: list[str]) -> None:
    import json

    import numpy as np

    import minireptile as mr

    from .machine import blas_threads
    from .settings import MINIIMAGENET, OMNIGLOT, SINE

    network, backend = arguments
    known = {setting.network: setting for setting in (OMNIGLOT, MINIIMAGENET, SINE)}
    setting = known[network]
    x, y = setting.data()
    times = {"import_seconds": perf_counter() - BEGIN}
    with blas_threads(1):
        for name in ("first_seconds", "next_seconds"):
            begin = perf_counter()
            if name == "first_seconds":
                model = setting.model(backend)
            phi = np.repeat(model.init(0)[None], setting.tasks, axis=0)
            mr.adapt(model, phi, x, y, setting.optimizer)
            times[name] = perf_counter() - begin
    print(json.dumps(times))


if __name__ == "__main__":
    main(sys.argv[1:])
