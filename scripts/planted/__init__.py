"""The benchmark's cases: models, right ports of them, and ports with one fault each."""

from planted import cnn, decoder, encoder, gpt2, mlp, resnet
from planted.case import Case

CASES: list[Case] = [
    *mlp.CASES,
    *cnn.CASES,
    *resnet.CASES,
    *encoder.CASES,
    *decoder.CASES,
    *gpt2.CASES,
]
