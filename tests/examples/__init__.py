"""The examples' own functions, and what the examples claim. They are scripts, found by their bare names."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent.parent / "examples"
sys.path.append(str(FOLDER))
