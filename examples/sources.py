"""Makes the scripts of ``sample_models/train`` importable: they are no package and import each other by bare names."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "sample_models" / "train"))


def folder_of(example: str, network: str) -> Path:
    """Where an example leaves its files."""
    folder = ROOT / "build" / "examples" / example / network
    folder.mkdir(parents=True, exist_ok=True)
    return folder
