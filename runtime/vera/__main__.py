"""``python -m vera``: the same as the command ``vera``."""

import sys

from vera.cli import main

sys.exit(main())
