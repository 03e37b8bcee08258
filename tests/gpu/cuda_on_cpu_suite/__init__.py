"""The CUDA kernels on the CPU under the address sanitizer, which has to be there before Python is;
so what is here runs in processes of its own: see tests/gpu/test_cuda_on_cpu.py."""
