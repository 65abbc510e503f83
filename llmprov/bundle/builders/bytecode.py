"""Compiles an image's Python files: an engine that may not write beside its code would compile them at every start."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmprov.bundle.builders.imageroot import ImageRoot
from llmprov.bundle.catalog import BuildContext

# A compiled file depends a little on what the same process compiled before: the share of each process is fixed.
_SHARES = 2
_OPTIONS = ("-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash")


def compile_packages(context: BuildContext, root: ImageRoot) -> None:
    """Compile the image's packages, the same bytes every time.

    The files are marked as never to be checked against their source: modification times do not survive in a layer.
    """
    context.step.update("compiling Python files")
    members = sorted(path for path in root.packages.iterdir() if path.suffix != ".dist-info")
    shares = [members[start::_SHARES] for start in range(_SHARES)]
    with ThreadPoolExecutor(_SHARES) as pool:
        list(pool.map(lambda share: _compile(context, root, share), enumerate(shares)))


def _compile(context: BuildContext, root: ImageRoot, share: tuple[int, list[Path]]) -> None:
    number, members = share
    listing = context.workdir / f"compile-{number}.txt"
    listing.write_text("".join(f"{path}\n" for path in members))
    root.run(context, [*_OPTIONS, "-s", str(root.path), "-p", "/", "-i", str(listing)])
