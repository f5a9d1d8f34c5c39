"""``python -m counterpoint.eval.cli``: the ``counterpoint`` command without its script."""

import sys

from counterpoint.eval.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
