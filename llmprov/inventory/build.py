"""Every step from an inventory's files to its values; `load` is the way in."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmprov.inventory import yaml_tree
from llmprov.inventory.checks_cluster import check_same_everywhere, check_settings
from llmprov.inventory.checks_hosts import check_hosts, check_topology
from llmprov.inventory.checks_models import check_models
from llmprov.inventory.findings import Finding, raise_errors
from llmprov.inventory.hosts import read_host
from llmprov.inventory.model_files import model_files, read_models
from llmprov.inventory.role_values import Resolver
from llmprov.inventory.settings import default_settings, read_settings
from llmprov.inventory.source import AnsibleSource, RawHost, source_files
from llmprov.inventory.values import CONTROL_PLANE, ClusterSettings, Host, Inventory
from llmprov.inventory.variables import check_variables, role_specs
from llmprov.paths import content_root


def build(path: Path) -> Inventory:
    """Read, check and return the inventory at an existing path."""
    models, findings = read_models(model_files(path))
    broken = _check_form(path)
    if broken:
        # Ansible cannot read further than this, but the model files are whole and their errors are known already.
        raise_errors(path, [*broken, *findings])
    source = AnsibleSource(path)
    raise_errors(path, source.unreadable())
    raws = source.hosts()
    defaults = default_settings(source)
    hosts, wrong_hosts = _hosts(source, raws, defaults)
    mistyped = check_variables(source, role_specs(), defaults)
    settings, wrong_settings = _settings(source, raws, hosts, defaults)
    findings = [
        *source.findings,
        *check_topology(raws, source.groups()),
        *wrong_hosts,
        *check_hosts(raws, hosts),
        *mistyped,
        *_unreported(wrong_settings, mistyped),
        *findings,
        *check_models(models, settings, hosts),
    ]
    raise_errors(path, findings)
    if settings is None:
        raise AssertionError("settings are missing although nothing was found wrong")
    return Inventory(
        path=path.absolute(),
        hosts=tuple(hosts),
        settings=settings,
        models=tuple(model.spec for model in models),
        warnings=tuple(finding.line(path) for finding in findings if finding.warning),
        resolver=Resolver(source, content_root() / "roles", defaults),
    )


def _check_form(path: Path) -> list[Finding]:
    """Find syntax errors and keys given twice in every YAML file that Ansible will read."""
    directory = path if path.is_dir() else path.absolute().parent
    variables = [file for name in ("group_vars", "host_vars") for file in sorted((directory / name).rglob("*"))]
    files = [file for file in (*source_files(path), *variables) if file.is_file() and _is_yaml(file)]
    return [finding for file in files for finding in yaml_tree.read(file.absolute()).findings]


def _is_yaml(file: Path) -> bool:
    in_variables = "group_vars" in file.parts or "host_vars" in file.parts
    return file.suffix in {".yml", ".yaml", ".json"} or (in_variables and not file.suffix)


def _hosts(
    source: AnsibleSource, raws: Sequence[RawHost], defaults: Mapping[str, object]
) -> tuple[list[Host], list[Finding]]:
    hosts: list[Host] = []
    findings: list[Finding] = []
    for raw in raws:
        host, found = read_host(source, raw, defaults)
        findings += found
        hosts += [host] if host else []
    return hosts, findings


def _settings(
    source: AnsibleSource, raws: Sequence[RawHost], hosts: Sequence[Host], defaults: Mapping[str, object]
) -> tuple[ClusterSettings | None, list[Finding]]:
    first = next((raw for raw in raws if CONTROL_PLANE in raw.groups), None)
    if first is None:
        return None, []
    settings, findings = read_settings(source, first, defaults)
    findings += check_same_everywhere(raws)
    if settings:
        findings += check_settings(settings, hosts, first.places)
    return settings, findings


def _unreported(findings: Sequence[Finding], reported: Sequence[Finding]) -> list[Finding]:
    keys = {finding.key for finding in reported}
    return [finding for finding in findings if finding.key not in keys]
