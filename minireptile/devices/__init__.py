"""Where arrays lie and kernels run: the host and GPUs, and why one cannot be used."""
