"""What the documentation lists is what the code has, and its links lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmprov.paths import content_root
from llmprov.stages import stage_names

ROOT = content_root()
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("[A-Z]*.md")))
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)#\s]+)(#[^)]*)?\)")


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


@pytest.mark.parametrize("page", sorted(set(PAGES)), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [found["target"] for found in _LINK.finditer(page.read_text(encoding="utf-8"))]
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in local if not (page.parent / target).exists()] == []
