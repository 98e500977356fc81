"""The split by sequence: which capped dipeptides are trained on, and which are never seen.

    python examples/dipeptides/sequences.py          writes sequences.json anew

Drawn with a fixed seed from all pairs of the 18 amino acids other than glycine and proline, such that every amino acid
stands at both places in training.
"""

import json
from pathlib import Path

import numpy as np

AMINO_ACIDS = "ACDEFHIKLMNQRSTVWY"
SEED, N_TRAIN, N_TEST = 5, 60, 20
FILE = Path(__file__).with_name("sequences.json")


def draw(seed=SEED, n_train=N_TRAIN, n_test=N_TEST):
    """{"train": [...], "test": [...]}: two-letter sequences, no sequence twice."""
    generator = np.random.default_rng(seed)
    pairs = [first + second for first in AMINO_ACIDS for second in AMINO_ACIDS]
    while True:
        drawn = [pairs[i] for i in generator.permutation(len(pairs))[: n_train + n_test]]
        train, test = drawn[:n_train], drawn[n_train:]
        if all({pair[place] for pair in train} == set(AMINO_ACIDS) for place in (0, 1)):
            return {"train": train, "test": test}


def load():
    """The split that sequences.json holds."""
    return json.loads(FILE.read_text())


if __name__ == "__main__":
    FILE.write_text(json.dumps(draw(), indent=1) + "\n")
