"""The split by sequence: which disordered chains are trained on, and which are never seen.

    python examples/disordered/sequences.py          writes sequences.json anew

Drawn with a fixed seed: 60 sequences to train on and 20 that are never seen, of 20 to 60 residues. Each has a
composition of its own, drawn from a Dirichlet distribution around equal shares of the 20 amino acids, so that some are
sticky, some charged and some neither; the order is random.
"""

import json
from pathlib import Path

import numpy as np

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
SEED, N_TRAIN, N_UNSEEN = 7, 60, 20
SHORTEST, LONGEST = 20, 60
CONCENTRATION = 2.0  # of the Dirichlet distribution, for each amino acid
FILE = Path(__file__).with_name("sequences.json")


def draw(seed=SEED, n_train=N_TRAIN, n_unseen=N_UNSEEN):
    """{"train": {"train01": sequence, ...}, "unseen": {"unseen01": sequence, ...}}, no sequence twice."""
    generator = np.random.default_rng(seed)
    return {
        name: {f"{name}{number:02d}": _sequence(generator) for number in range(1, count + 1)}
        for name, count in (("train", n_train), ("unseen", n_unseen))
    }


def _sequence(generator):
    length = generator.integers(SHORTEST, LONGEST + 1)
    shares = generator.dirichlet(np.full(len(AMINO_ACIDS), CONCENTRATION))
    return "".join(generator.choice(list(AMINO_ACIDS), length, p=shares))


if __name__ == "__main__":
    FILE.write_text(json.dumps(draw(), indent=1) + "\n")
