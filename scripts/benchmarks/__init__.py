"""What `benchmark.py` and `benchmark_gpu.py` measure, and with what they compare it."""
