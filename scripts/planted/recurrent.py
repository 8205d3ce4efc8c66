"""``nn.LSTM`` and ``nn.GRU`` with a head; Linen, Equinox and functions with a scan or a loop."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from torch import nn as tnn

from planted.case import Faults, Port, right
from planted.weights import arrays, dense, equinox_with, normal, randomized

WIDTH, FEATURES = 6, 5


class Tagger(tnn.Module):
    def __init__(self, kind, layers=1, **options):
        super().__init__()
        self.rnn = kind(FEATURES, WIDTH, num_layers=layers, batch_first=True, **options)
        self.head = tnn.Linear(WIDTH, 3)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.head(out[:, -1])


class Stepwise(tnn.Module):
    """A cell in a Python loop."""

    def __init__(self):
        super().__init__()
        self.cell = tnn.LSTMCell(FEATURES, WIDTH)
        self.norm = tnn.LayerNorm(WIDTH)

    def forward(self, x):
        h = c = x.new_zeros(x.shape[0], WIDTH)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
        return self.norm(h)


def lstm_step(p, x, h, c, wrong=""):
    """One step of an LSTM; ``p`` are input and recurrent weights and their biases."""
    wi, wh, bi, bh = p
    y = x @ wi.T + bi + h @ wh.T + (0 if wrong == "one bias" else bh)
    i, f, g, o = jnp.split(y, 4, -1)
    if wrong == "gates":
        f, i = i, f
    if wrong == "order":
        g, o = o, g
    f = jax.nn.sigmoid(f + 1 if wrong == "forget" else f)
    g = jax.nn.sigmoid(g) if wrong == "sigmoid" else jnp.tanh(g)
    c = f * c + jax.nn.sigmoid(i) * g
    kept = c if wrong == "no tanh" else jnp.tanh(c)
    return jax.nn.sigmoid(o) * kept, c


def gru_step(p, x, h, c, wrong=""):
    wi, wh, bi, bh = p
    xr, xz, xn = jnp.split(x @ wi.T + bi, 3, -1)
    hr, hz, hn = jnp.split(h @ wh.T + bh, 3, -1)
    r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
    if wrong == "gates":
        r, z = z, r
    if wrong == "reset first":
        n = jnp.tanh(xn + (r * h) @ wh[-WIDTH:].T + bh[-WIDTH:])
    elif wrong == "bias outside":
        n = jnp.tanh(xn + r * (hn - bh[-WIDTH:]) + bh[-WIDTH:])
    else:
        n = jnp.tanh(xn + r * hn)
    if wrong == "swapped":
        return z * n + (1 - z) * h, c
    return (1 - z) * n + z * h, c


PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def layer(p, suffix, step, xs, wrong, loop, start=0.0):
    """All steps of one layer, from (batch, time, features) to (batch, time, width)."""
    weights = tuple(p[f"rnn.{part}_{suffix}"] for part in PARTS)
    h = c = jnp.full((xs.shape[0], WIDTH), start, xs.dtype)
    if loop:
        outs = []
        for t in range(xs.shape[1]):
            h, c = step(weights, xs[:, t], h, c, wrong)
            outs.append(h)
        return jnp.stack(outs, 1)

    def body(carry, x):
        carry = step(weights, x, *carry, wrong)
        return carry, carry[0]

    return jax.lax.scan(body, (h, c), xs.swapaxes(0, 1))[1].swapaxes(0, 1)


def plain(kind: Any = tnn.LSTM, layers=1, wrong="", loop=False, end="last", seed=0) -> Port:
    module = randomized(Tagger(kind, layers), seed)
    step = lstm_step if kind is tnn.LSTM else gru_step

    def apply(p, x):
        x = x[:, ::-1] if wrong == "reversed" else x
        for i in range(layers):
            last = i == layers - 1
            start = 1.0 if wrong == "start" else 0.0
            if wrong == "reused":
                p = p | {f"rnn.{part}_l1": p[f"rnn.{part}_l0"] for part in PARTS[1:]}
            x = layer(p, f"l{i}", step, x, wrong if last else "", loop, start)
        y = {"last": x[:, -1], "mean": x.mean(1), "first": x[:, 0]}[end]
        return y @ p["head.weight"].T + p["head.bias"]

    return Port(apply, arrays(module), module, normal(3, 4, FEATURES))


def both_ways(wrong="") -> Port:
    """Bidirectional."""

    class Both(tnn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = tnn.LSTM(FEATURES, WIDTH, batch_first=True, bidirectional=True)
            self.head = tnn.Linear(2 * WIDTH, 3)

        def forward(self, x):
            return self.head(self.rnn(x)[0])

    module = randomized(Both(), 4)

    def apply(p, x):
        there = layer(p, "l0", lstm_step, x, "", False)
        back = layer(p, "l0_reverse", lstm_step, x[:, ::-1], "", False)
        back = back if wrong == "not turned back" else back[:, ::-1]
        parts = (back, there) if wrong == "concatenated" else (there, back)
        return jnp.concatenate(parts, -1) @ p["head.weight"].T + p["head.bias"]

    return Port(apply, arrays(module), module, normal(3, 4, FEATURES))


def gates(state, kind):
    """Weights by gate as Flax's cells have them: one bias, or two for the GRU's new gate."""
    names = "ifgo" if kind == "lstm" else "rzn"
    params = {}
    split = {part: np.split(state[f"rnn.{part}_l0"], len(names)) for part in PARTS}
    for index, name in enumerate(names):
        wi, wh, bi, bh = (split[part][index] for part in PARTS)
        if kind == "lstm":
            params[f"i{name}"] = {"kernel": wi.T}
            params[f"h{name}"] = {"kernel": wh.T, "bias": bi + bh}
        else:
            both = name == "n"
            params[f"i{name}"] = {"kernel": wi.T, "bias": bi if both else bi + bh}
            params[f"h{name}"] = {"kernel": wh.T} | ({"bias": bh} if both else {})
    return params


class LinenTagger(nn.Module):
    cell: Any
    reverse: bool = False

    @nn.compact
    def __call__(self, x):
        zeros = jnp.zeros((len(x), WIDTH), x.dtype)
        start = zeros if isinstance(self.cell, nn.GRUCell) else (zeros, zeros)
        rnn = nn.RNN(self.cell, reverse=self.reverse, keep_order=True, name="rnn")
        out: Any = rnn(x, initial_carry=start)
        return nn.Dense(3, name="head")(out[:, -1])


def linen(kind="lstm", change=None, reverse=False, **options) -> Port:
    module = randomized(Tagger({"lstm": tnn.LSTM, "gru": tnn.GRU}[kind]), 2)
    state = arrays(module)
    cell = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}[kind]
    model = LinenTagger(cell(WIDTH, **options), reverse)
    weights = gates(state, kind)
    if change is not None:
        a, b = change
        weights |= {a: weights[b], b: weights[a]}
    params = {"cell": weights, "head": dense(state, "head")}
    x = normal(3, 4, FEATURES)
    expected = model.init(jax.random.key(0), x)["params"]
    if set(expected) != set(params):
        params = {**{k: weights for k in expected if k != "head"}, "head": params["head"]}
    return Port(model.apply, {"params": params}, module, x)


def equinox(kind="lstm", order=(0, 1, 2, 3), steps=None) -> Port:
    """A cell in a scan, vmapped over the batch."""
    module = randomized(Tagger({"lstm": tnn.LSTM, "gru": tnn.GRU}[kind]), 3)
    state = arrays(module)
    wi, wh, bi, bh = (state[f"rnn.{part}_l0"] for part in PARTS)

    def ordered(x):
        parts = np.split(x, 4)
        return np.concatenate([parts[i] for i in order])

    class Model(eqx.Module):
        cell: Any
        head: eqx.nn.Linear

        def __call__(self, xs):
            h = jnp.zeros(WIDTH, xs.dtype)
            start = (h, h) if kind == "lstm" else h

            def body(carry, x):
                return self.cell(x, carry), None

            last = jax.lax.scan(body, start, xs[:steps])[0]
            return self.head(last[0] if kind == "lstm" else last)

    keys = jax.random.split(jax.random.key(0))
    head = eqx.nn.Linear(WIDTH, 3, key=keys[1])
    if kind == "lstm":
        model = Model(eqx.nn.LSTMCell(FEATURES, WIDTH, key=keys[0]), head)
        values = {"cell.weight_ih": ordered(wi), "cell.weight_hh": ordered(wh)}
        values["cell.bias"] = ordered(bi + bh)
    else:
        model = Model(eqx.nn.GRUCell(FEATURES, WIDTH, key=keys[0]), head)
        bias = bi + np.concatenate([bh[: 2 * WIDTH], np.zeros(WIDTH)])
        values = {"cell.weight_ih": wi, "cell.weight_hh": wh, "cell.bias": bias}
        values["cell.bias_n"] = bh[2 * WIDTH :]
    values |= {"head.weight": state["head.weight"], "head.bias": state["head.bias"]}
    model = equinox_with(model, values)
    return Port(lambda m, x: jax.vmap(m)(x), model, module, normal(3, 4, FEATURES))


def stepwise(wrong="", epsilon=1e-5) -> Port:
    module = randomized(Stepwise(), 6)

    def apply(p, x):
        weights = tuple(p[f"cell.{part}"] for part in PARTS)
        h = c = jnp.zeros((x.shape[0], WIDTH), x.dtype)
        for t in range(x.shape[1]):
            h, c = lstm_step(weights, x[:, t], h, c, wrong)
        mean = h.mean(-1, keepdims=True)
        normed = (h - mean) * jax.lax.rsqrt(h.var(-1, keepdims=True) + epsilon)
        return normed * p["norm.weight"] + p["norm.bias"]

    return Port(apply, arrays(module), module, normal(3, 4, FEATURES))


lstm = Faults("LSTM", "function", plain)
gru = Faults("GRU", "function", lambda **options: plain(kind=tnn.GRU, **options))
READ = "the forward's own choice, read by the head"

CASES = [
    right("LSTM", "function", "in a scan", plain),
    right("LSTM", "function", "two layers in a Python loop", plain, layers=2, loop=True),
    right("LSTM", "function", "in both directions", both_ways),
    right("LSTM", "Linen", "nn.RNN, one bias for two", linen),
    right("LSTM", "Equinox", "a scan under vmap", equinox),
    right("LSTM cell", "function", "a Python loop on both sides", stepwise),
    right("GRU", "function", "in a scan", plain, kind=tnn.GRU),
    right("GRU", "Linen", "nn.RNN", linen, kind="gru"),
    right("GRU", "Equinox", "a scan under vmap", equinox, kind="gru"),
    lstm("input and forget gates swapped", "rnn", "gate", wrong="gates"),
    lstm("gates in the order i f o g", "rnn", "gate", wrong="order", loop=True),
    lstm("only one of the biases", "rnn", "bias", wrong="one bias"),
    lstm("forget gate's bias 1 more", "rnn", ("bias", "forget"), wrong="forget"),
    lstm("sigmoid for a tanh", "rnn", ("activation", "sigmoid"), wrong="sigmoid", loop=True),
    lstm("no tanh of the cell's state", "rnn", ("missing", "tanh", "activation"), wrong="no tanh"),
    lstm("read backwards", "rnn", ("order", "revers", "backward"), wrong="reversed"),
    lstm("started from ones", "rnn", ("start", "initial", "state"), wrong="start"),
    lstm("the mean of all steps for the last", ("", "head"), ("reduction", "mean"), end="mean",
         why=READ),
    lstm("the first layer's recurrent weights in both", "rnn", "weight", layers=2, wrong="reused"),
    Faults("LSTM", "function", both_ways)(
        "backward outputs not turned back", ("rnn", "head", ""), ("order", "revers"),
        wrong="not turned back", why="the turn is inside the layer, its result read by the head"),
    Faults("LSTM", "function", both_ways)(
        "directions concatenated the other way", ("rnn", "head", ""), ("order", "concat"),
        wrong="concatenated", why="the concatenation is inside the layer, read by the head"),
    Faults("LSTM", "Linen", linen)("gates' input weights swapped", "rnn", "gate",
                                   change=("if", "io")),
    Faults("LSTM", "Linen", linen)("cell's activation ReLU", "rnn", "activation",
                                   activation_fn=nn.relu),
    Faults("LSTM", "Linen", linen)("read backwards", "rnn", ("order", "revers", "backward"),
                                   reverse=True),
    Faults("LSTM", "Equinox", equinox)("gates in the order i f o g", "rnn", "gate",
                                       order=(0, 1, 3, 2)),
    Faults("LSTM", "Equinox", equinox)("one step too few", ("", "head", "rnn"),
                                       ("step", "index", "slice", "length"), steps=3, why=READ),
    Faults("LSTM cell", "function", stepwise)("gates in the order i f o g", "cell", "gate",
                                              wrong="order"),
    Faults("LSTM cell", "function", stepwise)("only one of the biases", "cell", "bias",
                                              wrong="one bias"),
    Faults("LSTM cell", "function", stepwise)("epsilon 1e-6 for 1e-5", "norm", "epsilon",
                                              epsilon=1e-6),
    gru("reset and update gates swapped", "rnn", "gate", wrong="gates"),
    gru("reset before the product", "rnn", ("reset", "order", "gate"), wrong="reset first"),
    gru("bias outside the reset", "rnn", "bias", wrong="bias outside", loop=True),
    gru("update gate turned round", "rnn", ("gate", "update", "operand"), wrong="swapped"),
    gru("the first step for the last", ("", "head"), ("index", "position", "slice", "offset"),
        end="first", why=READ),
    Faults("GRU", "Linen", lambda **o: linen(kind="gru", **o))(
        "gates' recurrent weights swapped", "rnn", "gate", change=("hr", "hz")),
]  # fmt: skip
