"""Compare a port of GPT-2's architecture with PyTorch's, at full size, in float64, and time it.

The weights are random. The model in PyTorch has GPT-2's names (``h.0.attn.c_attn``) and its fused
attention; the port is written in Flax Linen, with separate queries, keys and values.
"""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch

from jaxmnist import interop, provenance, verify

SIZES: dict[str, Any] = {
    "layers": 12,
    "width": 768,
    "heads": 12,
    "vocabulary": 50257,
    "context": 1024,
}


class Attention(torch.nn.Module):
    """Causal self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = torch.nn.Linear(width, 3 * width)
        self.c_proj = torch.nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend to this and earlier tokens."""
        batch, length, width = x.shape
        q, k, v = (
            y.view(batch, length, self.heads, -1).transpose(1, 2)
            for y in self.c_attn(x).split(width, dim=2)
        )
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(batch, length, width))


class Block(torch.nn.Module):
    """Attention and a multilayer perceptron, each after a normalization and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = torch.nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = torch.nn.LayerNorm(width)
        self.c_fc = torch.nn.Linear(width, 4 * width)
        self.act = torch.nn.GELU(approximate="tanh")
        self.c_proj = torch.nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply both, each added to what it reads."""
        x = x + self.attn(self.ln_1(x))
        return x + self.c_proj(self.act(self.c_fc(self.ln_2(x))))


class GPT2(torch.nn.Module):
    """The model in PyTorch; the head is the embedding."""

    def __init__(self, layers: int, width: int, heads: int, vocabulary: int, context: int) -> None:
        super().__init__()
        self.wte = torch.nn.Embedding(vocabulary, width)
        self.wpe = torch.nn.Embedding(context, width)
        self.h = torch.nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = torch.nn.LayerNorm(width)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of every position."""
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T


class Port(nn.Module):
    """The same in Flax Linen."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    context: int
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Return the logits of every position."""
        table = nn.Embed(self.vocabulary, self.width, name="wte")
        positions = nn.Embed(self.context, self.width, name="wpe").embedding
        x = table(tokens) + positions[None, : tokens.shape[1]]
        for i in range(self.layers):
            x = self.block(x, i)
        return table.attend(self.norm("ln_f")(x))

    def norm(self, name: str) -> nn.Module:
        """Return a layer normalization with PyTorch's arithmetic."""
        return nn.LayerNorm(epsilon=self.epsilon, use_fast_variance=False, name=name)

    def block(self, x: jax.Array, i: int) -> jax.Array:
        """Apply attention and the perceptron of one block."""
        batch, length, _ = x.shape
        y = self.norm(f"h_{i}_ln_1")(x)
        q, k, v = jnp.split(nn.Dense(3 * self.width, name=f"h_{i}_attn_c_attn")(y), 3, axis=-1)
        q, k, v = (z.reshape(batch, length, self.heads, -1) for z in (q, k, v))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / (self.width / self.heads) ** 0.5
        hidden = jnp.arange(length)[:, None] < jnp.arange(length)[None, :]
        scores = jnp.where(hidden[None, None], -jnp.inf, scores)
        y = jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(scores), v).reshape(x.shape)
        x = x + nn.Dense(self.width, name=f"h_{i}_attn_c_proj")(y)
        y = nn.Dense(4 * self.width, name=f"h_{i}_c_fc")(self.norm(f"h_{i}_ln_2")(x))
        return x + nn.Dense(self.width, name=f"h_{i}_c_proj")(nn.gelu(y, approximate=True))


def compared(sizes: dict[str, Any], length: int, epsilon: float = 1e-5) -> verify.ModelResult:
    """Convert the weights of a random model, and compare the port with it in float64."""
    torch.manual_seed(0)
    module = GPT2(**sizes).double()
    port = Port(**sizes, epsilon=epsilon)
    tokens = np.random.default_rng(0).integers(0, sizes["vocabulary"], (1, length))
    with jax.enable_x64(True):
        shapes = jax.eval_shape(port.init, jax.random.key(0), jnp.asarray(tokens))
        params = interop.match(shapes, module).to_jax(module.state_dict())
    return verify.model(port.apply, params, module, tokens)


def main() -> None:
    """Compare at full size; write what came out and how long it took."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--length", type=int, default=64, help="tokens of the one input")
    parser.add_argument("--epsilon", type=float, default=1e-5, help="of the port; another differs")
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    given = parser.parse_args()
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    result = compared(SIZES, given.length, given.epsilon)
    print(result)
    print(f"location {result.location!r}, cause: {result.cause}")
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{seconds:.0f} s, {memory:.1f} GiB")
    if given.out is not None:
        command = f"python scripts/gpt2_port.py --length {given.length} --epsilon {given.epsilon}"
        about = provenance.record(command, "flax", "torch")
        about |= {"seconds": seconds, "gib": memory, **SIZES, "length": given.length}
        about |= {"result": json.loads(result.to_json())}
        given.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
