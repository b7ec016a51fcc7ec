"""A worker of the example folds, as a process: `python example_worker.py`, settings from the environment."""

import sys

from pearlstream.settings import load_settings
from pearlstream.testing.folds import Adding, Counting
from streams.app import make_app
from streams.cli import run

if __name__ == "__main__":
    sys.exit(run(make_app(load_settings(), folds=[Counting(), Adding()], alone="--alone" in sys.argv)))
