"""The cluster settings: role `cluster` holds the defaults, the inventory overrides them, Ansible resolves both."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from llmprov.inventory.findings import Finding
from llmprov.inventory.source import AnsibleSource, RawHost
from llmprov.inventory.values import ClusterSettings
from llmprov.paths import cache_dir, content_root

PREFIX = "cluster_"


def defaults_file() -> Path:
    """Return the file that holds the default of every cluster setting."""
    return content_root() / "roles" / "cluster" / "defaults" / "main.yml"


def read_settings(source: AnsibleSource, first: RawHost, address: str) -> tuple[ClusterSettings | None, list[Finding]]:
    """Resolve the settings as the first control plane sees them; those with errors come back as findings."""
    defaults = _defaults(source, address)
    values: dict[str, object] = {}
    findings: list[Finding] = []
    for field in ClusterSettings.model_fields:
        key = PREFIX + field
        try:
            values[field] = source.resolve(first.name, key, defaults)
        except KeyError:
            continue
        except ValueError as error:
            findings.append(
                Finding(f"cannot be resolved: {error}", "correct the template", first.places.get(key, first.place), key)
            )
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
    return Finding(
        problem=str(problem["msg"]),
        remedy=f"see {key} in docs/inventory.md",
        place=first.places.get(key, first.place),
        key=key,
        value=values.get(field),
    )


def _defaults(source: AnsibleSource, address: str) -> dict[str, object]:
    defaults: dict[str, object] = {
        "cluster_name": "llmprov",
        "cluster_api_host": address,
        "cluster_api_port": 6443,
        "cluster_pod_cidr": "10.244.0.0/16",
        "cluster_service_cidr": "10.96.0.0/16",
        "cluster_dns_domain": "cluster.local",
        "cluster_bundle_dir": str(cache_dir() / "bundle"),
        "cluster_registry_host": address,
        "cluster_registry_port": 5000,
        "cluster_gpu_mode": "real",
        "cluster_simulated_gpus": 1,
        "cluster_network_backend": "host-gw",
    }
    file = defaults_file()
    return {**defaults, **source.load_defaults(file)} if file.is_file() else defaults
