"""Entry point of ``python -m backupchaos_reference``."""

import sys

from backupchaos_reference.cli import main

if __name__ == "__main__":
    sys.exit(main())
