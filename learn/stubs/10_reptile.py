"""10: Reptile: the outer loop.                                       15 minutes, about 7 lines

Read kernels/reptile.md, eq. 1 and 2, with 0 for the last epsilon of eq. 2.

    theta      (P,)  the initialisation that is learned
    tasks      a meta-batch: T tasks, each a list of mini-batches
    epsilon    the outer step size, that of iteration 0 in reptile

    adapt(phi, batches)    the k inner steps of one task, on phi (P,), in place: yours of 09
    draw(j)                the meta-batch of iteration j

At the end, your loops learn sine waves.
"""

from __future__ import annotations

import numpy as np


def reptile_step(theta, tasks, adapt, epsilon):
    raise NotImplementedError("theta after one iteration, a new array, by eq. 1")


def reptile(theta, draw, adapt, epsilon, iterations):
    raise NotImplementedError("theta after all iterations; epsilon falls on a line, by eq. 2")
