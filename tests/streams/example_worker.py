"""A worker as a process: `python example_worker.py [--alone] [--real]`, settings from the environment.

Runs the example folds, or the real ones.
"""

import sys

from pearlstream.settings import load_settings
from pearlstream.testing.folds import Adding, Counting
from streams.app import make_app
from streams.cli import run

if __name__ == "__main__":
    folds = None if "--real" in sys.argv else [Counting(), Adding()]
    sys.exit(run(make_app(load_settings(), folds=folds, alone="--alone" in sys.argv)))
