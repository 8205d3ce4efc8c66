"""Other normalizations by mean and variance in the place of PyTorch's."""

from typing import Any

from jaxmnist.verify.locate.torch_trace import Operation


def other_norms(operation: Operation) -> dict[str, Operation]:
    """List what a normalization over what it is given might be in the JAX function.

    Args:
        operation: A LayerNorm, or a BatchNorm by the batch's own statistics.

    Returns:
        Changes to it by cause; none for another operation.
    """
    layer = operation.name == "native_layer_norm"
    if not layer and (operation.name != "native_batch_norm" or not operation.arguments[5]):
        return {}
    epsilon = operation.arguments[-1]

    def changed(
        unbiased: bool, outside: bool, centred: bool, over: list[int] | None = None
    ) -> Operation:
        def function(x: Any, *rest: Any) -> Any:
            scale, bias = rest[1:3] if layer else rest[:2]
            axes = list(range(x.ndim - len(rest[0]), x.ndim)) if layer else [0, *range(2, x.ndim)]
            summed = axes if over is None else over
            mean = x.mean(summed, keepdim=True)
            variance = x.var(summed, correction=int(unbiased), keepdim=True)
            if not centred:
                mean, variance = 0.0, (x * x).mean(summed, keepdim=True)
            root = variance.sqrt() + epsilon if outside else (variance + epsilon).sqrt()
            y = (x - mean) / root
            shape = [1] * x.ndim
            for axis in range(x.ndim):
                if (axis in axes) == layer:
                    shape[axis] = x.shape[axis]
            if scale is not None:
                y = y * scale.reshape(shape)
            return (y if bias is None else y + bias.reshape(shape),)

        return operation._replace(function=function)

    other_axes = {
        f"axis: normalized over axis {axis} in JAX": changed(False, False, True, [axis])
        for axis in range(-4, -1)
        if layer and len(operation.arguments[1]) == 1
    }
    return other_axes | {
        "variance: unbiased in JAX, biased in PyTorch": changed(True, False, True),
        "epsilon: outside the root in JAX, inside in PyTorch": changed(False, True, True),
        "mean: not subtracted in JAX, as in an RMSNorm": changed(False, False, False),
    }
