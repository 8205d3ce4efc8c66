"""One model run in JAX and in PyTorch on the same numbers, and the noise of its rounding."""
