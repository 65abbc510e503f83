"""Holds what is rendered to files that people review; `LLMPROV_UPDATE_GOLDEN=1` writes them anew."""

import os
from pathlib import Path

GOLDEN = Path(__file__).parent


def reviewed(name: str, text: str) -> None:
    """Assert that a text is the reviewed one in `tests/golden/NAME`."""
    file = GOLDEN / name
    if os.environ.get("LLMPROV_UPDATE_GOLDEN"):
        file.write_text(text)
    assert file.exists(), f"{file} is new: write it with LLMPROV_UPDATE_GOLDEN=1, and review it"
    assert text == file.read_text(), "review the difference, then write the file with LLMPROV_UPDATE_GOLDEN=1"
