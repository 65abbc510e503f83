"""The cluster settings: role `cluster` holds the defaults, the inventory overrides them, Ansible resolves both."""

from collections.abc import Mapping

from pydantic import ValidationError

from llmprov.inventory.findings import Finding
from llmprov.inventory.source import AnsibleSource, RawHost, UnresolvedError
from llmprov.inventory.values import ClusterSettings
from llmprov.paths import content_root

PREFIX = "cluster_"


def read_settings(
    source: AnsibleSource, first: RawHost, defaults: Mapping[str, object]
) -> tuple[ClusterSettings | None, list[Finding]]:
    """Resolve the settings as the first control plane sees them; those with errors come back as findings."""
    values: dict[str, object] = {}
    findings: list[Finding] = []
    for field in ClusterSettings.model_fields:
        key = PREFIX + field
        try:
            values[field] = source.resolve(first.name, key, defaults)
        except KeyError:
            continue
        except UnresolvedError as error:
            place = first.places.get(key, first.place)
            findings.append(Finding(f"cannot be resolved: {error}", error.remedy, place, key))
    if findings:
        return None, findings
    try:
        return ClusterSettings.model_validate(values), []
    except ValidationError as error:
        return None, [_finding(problem, values, first) for problem in error.errors()]


def _finding(problem: Mapping[str, object], values: Mapping[str, object], first: RawHost) -> Finding:
    location = problem["loc"]
    field = str(location[0]) if isinstance(location, tuple) and location else ""
    key = PREFIX + field
    inside = ".".join(map(str, location[1:])) if isinstance(location, tuple) else ""
    return Finding(
        problem=f"{inside}: {problem['msg']}" if inside else str(problem["msg"]),
        remedy=f"see {key} in docs/inventory.md",
        place=first.places.get(key, first.place),
        key=key,
        value=values.get(field),
    )


def default_settings(source: AnsibleSource) -> dict[str, object]:
    """Return the role's defaults, with their templates."""
    return source.load_defaults(content_root() / "roles" / "cluster" / "defaults" / "main.yml")
