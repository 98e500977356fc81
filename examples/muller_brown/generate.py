"""Makes the data of this folder anew, by OpenMM, in less than a minute: python generate.py [FOLDER]."""

import sys
from pathlib import Path

from fpforce.potentials import MULLER_BROWN
from fpforce.potentials.dataset import write_dataset

if __name__ == "__main__":
    write_dataset(MULLER_BROWN, sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
