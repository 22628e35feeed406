"""Makes the modules of tests/format importable: docs/decoder.py is asked here, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "format"))
