"""The benchmark's cases: models, right ports of them, and ports with one fault each."""

from planted import mlp
from planted.case import Case

CASES: list[Case] = [
    *mlp.CASES,
]
