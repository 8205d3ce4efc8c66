"""PyTorch and JAX side by side: a table of what is equal, proved row by row."""
