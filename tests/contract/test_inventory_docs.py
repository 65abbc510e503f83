"""The reference pages name everything there is, and nothing else."""

import re
from collections.abc import Iterable

from pydantic import BaseModel

from llmprov.errors import ExitCode
from llmprov.inventory import ClusterSettings, ModelSpec, load
from llmprov.paths import content_root
from llmprov.preflight import Context, Needs
from llmprov.preflight.needs import FEATURES, SUPPORTED_SYSTEMS
from llmprov.preflight.rules_remains import expected_listeners

ROOT = content_root()
DOCS = ROOT / "docs"


def first_cells(page: str) -> list[str]:
    """Return the first cell of each row of a page's tables."""
    rows = (DOCS / page).read_text(encoding="utf-8").splitlines()
    cells = [row.split("|")[1].strip() for row in rows if row.startswith("| ")]
    return [cell for cell in cells if cell]


def names(cells: Iterable[str]) -> set[str]:
    """Return everything in backquotes."""
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Return the dotted keys of a model's leaves."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        kind: object = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= keys(kind, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def test_exit_codes_are_documented() -> None:
    rows = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    for code in ExitCode:
        assert f"| {int(code)} | {code.name} |" in rows
    assert len(re.findall(r"^\| \d+ \|", rows, re.MULTILINE)) == len(ExitCode)


def test_settings_and_model_keys_are_documented() -> None:
    documented = names(first_cells("inventory.md"))
    assert {f"cluster_{field}" for field in ClusterSettings.model_fields} <= documented
    assert keys(ModelSpec) <= documented


def test_checks_are_documented() -> None:
    documented = names(first_cells("preflight.md"))
    sources = [*(ROOT / "llmprov" / "preflight").glob("*.py"), *(ROOT / "llmprov" / "workflows").glob("preflight*.py")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in sources)
    used = set(re.findall(r'(?:error|warning)\(\s*(?:[^,()"]+|"", ?|", "\.join\([^)]*\)\)),?\s*"(\w+)"', text))
    used |= set(re.findall(r'Finding\(host[.\w]*, "(\w+)"', text)) | {"connection", "identity", "mtu"}
    assert len(used) > 15
    assert used <= documented | {"facts"}


def test_systems_and_features_are_documented() -> None:
    page = (DOCS / "preflight.md").read_text(encoding="utf-8")
    for system, version in SUPPORTED_SYSTEMS:
        assert version in page
        assert system.capitalize() in page
    for feature in FEATURES:
        assert feature in page


def test_ports_are_documented() -> None:
    inventory = load(ROOT / "inventories" / "example")
    context = Context(inventory, Needs(), {})
    rows = (DOCS / "preflight.md").read_text(encoding="utf-8")
    for port, process in expected_listeners(inventory.first_control_plane, context).items():
        assert re.search(rf"^\|[^|]*\b{port}\b[^|]*\| {process} \|", rows, re.MULTILINE), port
