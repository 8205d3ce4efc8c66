"""Two examples of every command, which its help shows."""

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, tuple[str, str]]] = {
    "train": (
        "jaxmnist train --optimizer adam --epochs 5 --out runs/adam",
        "jaxmnist train --config runs/adam/config.json --seed 1 --log tensorboard --profile",
    ),
    "predict": (
        "jaxmnist predict runs/adam --indices 0 1 2",
        "jaxmnist predict runs/adam --images photo.jpg --show-input read.png",
    ),
    "evaluate": (
        "jaxmnist evaluate runs/adam",
        "jaxmnist evaluate runs/adam --dataset kmnist",
    ),
    "sweep": (
        "jaxmnist sweep --optimizer sgd adam --seed 0..4 --out sweep",
        "jaxmnist sweep --learning-rate 0.01 0.1 1 --epochs 3 --out rates",
    ),
    "runs": (
        "jaxmnist runs --plot curves.png",
        "jaxmnist runs elsewhere --json",
    ),
    "reproduce": (
        "jaxmnist reproduce runs/adam",
        "jaxmnist reproduce runs/adam -q && echo the same",
    ),
    "report": (
        "jaxmnist report runs/adam",
        "jaxmnist report runs/adam runs/sgd --out compared.html",
    ),
    "verify": (
        "jaxmnist verify optimizers --against torch",
        "jaxmnist verify all --out verify.json",
    ),
    "race": (
        "jaxmnist race rosenbrock --out race.png",
        "jaxmnist race saddle --optimizers sgd momentum --steps 40",
    ),
    "figures": (
        "jaxmnist figures softmax",
        "jaxmnist figures --redraw",
    ),
    "export": (
        "jaxmnist export runs/adam --format onnx",
        "jaxmnist export runs/adam --format safetensors --out adam.safetensors",
    ),
    "data list": (
        "jaxmnist data list",
        "jaxmnist data list --data-dir sets",
    ),
    "data prepare": (
        "jaxmnist data prepare fashion_mnist",
        "jaxmnist data prepare kmnist --from downloads/kmnist",
    ),
    "data show": (
        "jaxmnist data show",
        "jaxmnist data show fashion_mnist --out garments.png",
    ),
}
"""Commands as they are typed, by the command's own words."""
