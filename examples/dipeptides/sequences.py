"""The split by sequence: which capped dipeptides are trained on, and which are never seen.

    python examples/dipeptides/sequences.py          writes sequences.json anew

Drawn with a fixed seed from all pairs of the 18 amino acids other than glycine and proline: 60 to train on, with each
amino acid at both places, and 20 to test; then more to train on, until every amino acid stands at each place in four of
them. A model knows an amino acid at a place from these alone, and of a single one it learns the chance of its run as
well.
"""

import json
from pathlib import Path

import numpy as np

AMINO_ACIDS = "ACDEFHIKLMNQRSTVWY"
SEED, N_TRAIN, N_TEST = 5, 60, 20
AT_EACH_PLACE = 4
FILE = Path(__file__).with_name("sequences.json")


def draw(seed=SEED, n_train=N_TRAIN, n_test=N_TEST, at_each_place=AT_EACH_PLACE):
    """{"train": [...], "test": [...]}: two-letter sequences, no sequence twice."""
    generator = np.random.default_rng(seed)
    pairs = [first + second for first in AMINO_ACIDS for second in AMINO_ACIDS]
    train = []
    while not all({pair[place] for pair in train} == set(AMINO_ACIDS) for place in (0, 1)):
        drawn = [pairs[i] for i in generator.permutation(len(pairs))[: n_train + n_test]]
        train, test = drawn[:n_train], drawn[n_train:]
    return {"train": train + _more(train, {*drawn}, at_each_place, generator), "test": test}


def _more(train, taken, at_each_place, generator):
    """Pairs of what stands at a place fewer times than it should; where one place lacks more than the other, any fill
    it up.
    """
    lacking = [
        [amino for amino in AMINO_ACIDS for _ in range(at_each_place - sum(pair[place] == amino for pair in train))]
        for place in (0, 1)
    ]
    longest = max(map(len, lacking))
    while True:
        first, second = (
            generator.permutation([*some, *generator.choice(list(AMINO_ACIDS), longest - len(some))])
            for some in lacking
        )
        more = [str(a + b) for a, b in zip(first, second, strict=True)]
        if len({*more} - taken) == longest:
            return more


def load():
    """The split that sequences.json holds."""
    return json.loads(FILE.read_text())


if __name__ == "__main__":
    FILE.write_text(json.dumps(draw(), indent=1) + "\n")
