"""The benchmark's cases: models, right ports of them, and ports with one fault each."""

from planted import (
    attending,
    cnn,
    conv1d,
    decoder,
    embeddings,
    encoder,
    gated,
    gpt2,
    mlp,
    norms,
    pooling,
    recurrent,
    resnet,
    shared,
    transposed,
)
from planted.case import Case

CASES: list[Case] = [
    *mlp.CASES,
    *cnn.CASES,
    *resnet.CASES,
    *encoder.CASES,
    *decoder.CASES,
    *gpt2.CASES,
    *recurrent.CASES,
    *attending.CASES,
    *norms.CASES,
    *embeddings.CASES,
    *transposed.CASES,
    *pooling.CASES,
    *gated.CASES,
    *conv1d.CASES,
    *shared.CASES,
]
