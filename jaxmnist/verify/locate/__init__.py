"""The first place where a torch module and a JAX function diverge, and its cause."""
