"""The Numba CUDA kernels without a GPU. NUMBA_ENABLE_CUDASIM has to be set before Numba starts, so
what is here runs in a process of its own: see tests/gpu/test_numba_cuda.py."""
