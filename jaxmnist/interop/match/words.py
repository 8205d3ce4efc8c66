"""The names of parameters as words and numbers that mean the same in every library."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

ROLES: Final = {
    "kernel": "weight",
    "weight": "weight",
    "weights": "weight",
    "w": "weight",
    "scale": "weight",
    "gamma": "weight",
    "slope": "weight",
    "alpha": "weight",
    "embedding": "weight",
    "embeddings": "weight",
    "table": "weight",
    "bias": "bias",
    "biases": "bias",
    "b": "bias",
    "offset": "bias",
    "beta": "bias",
    "mean": "mean",
    "average": "mean",
    "var": "var",
    "variance": "var",
}
"""What a parameter is in its layer, by the word for it."""

_WHOLE: Final = (
    # Before a name is split at capitals and numbers.
    (r"([a-z])_?([123])_?d(?![a-z])", r"\1"),  # Conv2d, conv2_d
    (r"(layer|batch|group|instance|rms)_?norm(alization)?", r"\1kind_norm"),
    (r"multi_?head(ed)?(_?dot_?product)?_?att(entio)?n", "attn"),
    (r"self_?att(entio)?n", "self_attn"),
    (r"feed_?forward|ffn|\bff\b", "mlp"),
    (r"\bc_attn\b|\bin_proj\b|\bto_qkv\b|\bw?qkv(_proj)?\b", "qkv"),
    (r"negative_slope", "slope"),
    (r"(running|moving)_(mean|var)", r"\2"),
)
_SYNONYMS: Final = {
    word: tuple(meaning.split())
    for meaning, words in {
        "linear": "dense fc lin affine",
        "conv": "convolution",
        "norm": "normalization",
        "layerkind norm": "ln",
        "batchkind norm": "bn",
        "groupkind norm": "gn",
        "embed": "embedding embeddings emb",
        "token embed": "wte",
        "pos embed": "wpe",
        "pos": "position positional",
        "token": "tok word words",
        "attn": "attention att mha",
        "query": "q wq queries",
        "key": "k wk keys",
        "value": "v wv values",
        "out": "o wo output",
        "block": "layer layers blocks h stage stages",
        "encoder block": "encoderblock",
        "decoder block": "decoderblock",
        "encoder": "enc",
        "decoder": "dec",
        "forward": "fwd",
        "backward": "bwd backwards reverse",
        "final": "f last",
        "shortcut": "downsample skip",
        "": "c cell optimized module modules model orig mod",
    }.items()
    for word in words.split()
}
_TOKEN: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


class Words(NamedTuple):
    """A name's words, whatever their order, and its numbers with the words they follow."""

    words: frozenset[str]
    numbers: tuple[tuple[str, int], ...]


def split(component: str) -> list[str | int]:
    """Split one part of a path into words and numbers.

    >>> split("MultiHeadDotProductAttention_0"), split("BatchNorm2d"), split("c_attn")
    (['attn', 0], ['batchkind', 'norm'], ['qkv'])
    """
    for pattern, by in _WHOLE:
        component = re.sub(pattern, by, component, flags=re.IGNORECASE)
    found: list[str | int] = []
    for token in _TOKEN.findall(component):
        if token.isdigit():
            found.append(int(token))
        else:
            found += _SYNONYMS.get(token.lower(), (token.lower(),))
    return found


def read(components: Iterable[str]) -> Words:
    """Return the words and the numbers of a path.

    >>> read(["blocks", "3", "norm1"]).numbers
    (('block', 3), ('norm', 1))
    """
    words: list[str] = []
    numbers: list[tuple[str, int]] = []
    for token in (token for component in components for token in split(component)):
        if isinstance(token, int):
            numbers.append((words[-1] if words else "", token))
        else:
            words.append(token)
    return Words(frozenset(words), tuple(numbers))


def role(component: str) -> tuple[str | None, str]:
    """Find in the last part of a path what the parameter is, and what else the name has.

    >>> role("kernel"), role("fc1_w"), role("b2"), role("cls_token")
    (('weight', ''), ('weight', 'fc1'), ('bias', '2'), (None, 'cls_token'))
    """
    for pattern, by in _WHOLE[-2:]:
        component = re.sub(pattern, by, component)
    tokens = [*_TOKEN.finditer(component)]
    for token in (*tokens[-1:], *tokens[:1]):
        if found := ROLES.get(token[0].lower()):
            rest = component[: token.start()] + component[token.end() :]
            return found, rest.strip("_")
    return None, component


_PLACES: Final = frozenset({"pre", "post", "before", "after", "input"})


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the words that both names have, as a share of all their words.

    It is 0 where one says of what it is before or after, and the other does not: "post attention"
    may be behind the attention or in front of what follows.

    >>> similarity(frozenset({"attn", "query"}), frozenset({"self", "attn", "query"}))
    0.6666666666666666
    >>> similarity(frozenset({"attn", "norm"}), frozenset({"post", "attn", "norm"}))
    0.0
    """
    if (one ^ other) & _PLACES:
        return 0.0
    return len(one & other) / len(one | other) if one | other else 0.0
