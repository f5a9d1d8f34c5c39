"""``python -m counterpoint.eval.cli``: the ``counterpoint`` command without its script."""

import sys

from counterpoint.eval.cli.main import main

sys.exit(main())
