"""Bytes as people read them."""

_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000


def size(count: float) -> str:
    """Bytes in powers of 1000, as disks and networks are sold."""
    for unit in _UNITS[:-1]:
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} {_UNITS[-1]}"
