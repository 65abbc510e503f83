"""What the documentation lists is what the code has."""

from collections.abc import Iterator

from llmprov.paths import content_root
from llmprov.stages import stage_names

ROOT = content_root()


def _first_column(page: str, heading: str) -> Iterator[str]:
    """Yield the first cells of the table whose head begins with `heading`."""
    lines = iter((ROOT / "docs" / page).read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            break
    for line in lines:
        if not line.startswith("|"):
            return
        cell = line.split("|")[1].strip().strip("`")
        if not cell.startswith("-"):
            yield cell


def test_stages_are_listed_in_their_order() -> None:
    assert tuple(_first_column("install.md", "stage")) == stage_names()


def test_roles_are_listed() -> None:
    roles = {path.name for path in (ROOT / "roles").iterdir() if (path / "meta").is_dir()}
    assert set(_first_column("roles.md", "role")) == roles
