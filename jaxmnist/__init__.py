"""jaxmnist."""
