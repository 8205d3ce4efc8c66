"""Train one peer from the shell, and print the tutorial's line for every epoch.

python scripts/benchmarks/program.py --name "PyTorch in memory" --epochs 1
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import peers, problem


def main() -> None:
    """Read the command line with the standard library, which costs no time to import."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", choices=list(peers.PEERS), required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=60_000)
    given = parser.parse_args()
    peer = peers.build(given.name, problem.load(given.images, given.seed))
    if torch := sys.modules.get("torch"):
        torch.manual_seed(given.seed)
    for epoch in range(given.epochs):
        losses = peer.train(None)
        loss, accuracy = peer.evaluate()
        print(
            f"epoch: {epoch}, Train Loss: {np.mean(losses):.6f}, Eval Loss: {loss:.6f}, "
            f"Eval Acc: {accuracy:.6f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
