"""Where llmprov keeps things: caches and state in the user's XDG directories, Ansible content beside the package."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Artifacts by digest, toolchain caches: safe to delete, expensive to rebuild. `LLMPROV_CACHE_DIR` overrides."""
    return _directory("LLMPROV_CACHE_DIR", "XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """Run journals, lab hosts, keys: must survive, must not be shared. `LLMPROV_STATE_DIR` overrides."""
    return _directory("LLMPROV_STATE_DIR", "XDG_STATE_HOME", ".local/state")


def content_root() -> Path:
    """The directory that holds playbooks/, roles/, plugins/ and inventories/.

    In a wheel that is a folder of the package; in a checkout, the checkout itself.
    """
    package = Path(__file__).resolve().parent
    carried = package / "_ansible"
    return carried if carried.is_dir() else package.parent


def _directory(override: str, xdg: str, fallback: str) -> Path:
    if value := os.environ.get(override):
        return Path(value)
    base = os.environ.get(xdg)
    return (Path(base) if base else Path.home() / fallback) / "llmprov"
