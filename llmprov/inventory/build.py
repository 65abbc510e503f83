"""Every step from an inventory's files to its values; `load` is the way in."""

from pathlib import Path

from llmprov.inventory.findings import Finding, raise_errors
from llmprov.inventory.hosts import read_host
from llmprov.inventory.model_files import read_models
from llmprov.inventory.settings import read_settings
from llmprov.inventory.source import AnsibleSource
from llmprov.inventory.values import CONTROL_PLANE, Host, Inventory


def build(path: Path) -> Inventory:
    """Read, check and return the inventory at an existing path."""
    source = AnsibleSource(path)
    findings = list(source.findings)
    hosts, found = _hosts(source)
    findings += found
    control_plane = [host for host in hosts if CONTROL_PLANE in host.groups]
    settings = None
    if control_plane:
        first = next(raw for raw in source.hosts() if raw.name == control_plane[0].name)
        settings, found = read_settings(source, first, control_plane[0].address)
        findings += found
    else:
        findings.append(Finding("group control_plane has no host", "name at least one host in it"))
    models, found = read_models(path)
    findings += found
    raise_errors(path, findings)
    if settings is None:
        raise AssertionError("settings are missing although nothing was found wrong")
    return Inventory(
        path=path.absolute(),
        hosts=tuple(hosts),
        settings=settings,
        models=models,
        warnings=tuple(finding.line(path) for finding in findings if finding.warning),
    )


def _hosts(source: AnsibleSource) -> tuple[list[Host], list[Finding]]:
    hosts: list[Host] = []
    findings: list[Finding] = []
    for raw in source.hosts():
        host, found = read_host(source, raw)
        findings += found
        hosts += [host] if host else []
    return hosts, findings
