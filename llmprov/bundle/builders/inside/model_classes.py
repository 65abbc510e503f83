"""Runs inside an engine's root file system: has vLLM write its cache of model properties.

vLLM looks a model class over in another process, to keep CUDA out of its own; here there is none, so the same look
happens in this process.
"""

import sys
from pathlib import Path

from vllm.model_executor.models import registry  # type: ignore[import-not-found] # only the image has it


def main(architectures: list[str]) -> None:
    """Look over each architecture; vLLM itself stores what it finds below VLLM_CACHE_ROOT."""
    registry._run_in_subprocess = lambda look: look()  # noqa: SLF001 - vLLM has no other way to say it
    for architecture in architectures:
        registry.ModelRegistry.models[architecture].inspect_model_cls()
    if strangers := libraries_outside(Path("/proc/self/maps").read_text(), Path(sys.prefix).parent):
        sys.exit(f"the image lacks libraries; this machine's were loaded instead: {', '.join(strangers)}")


def libraries_outside(maps: str, root: Path) -> list[str]:
    """The shared libraries in a memory map that do not come from the image."""
    paths = {fields[5] for line in maps.splitlines() if len(fields := line.split(maxsplit=5)) > 5}  # noqa: PLR2004
    return sorted(path for path in paths if ".so" in path and not Path(path).is_relative_to(root))


if __name__ == "__main__":
    main(sys.argv[1:])
