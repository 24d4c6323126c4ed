"""`python -m learnlite` is `learnlite`."""

import sys

from learnlite.cli import main

if __name__ == "__main__":  # pytest and documentation tools import every module
    sys.exit(main())
