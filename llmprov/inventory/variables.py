"""Which variables an inventory may set, and of which type: the roles' own `meta/argument_specs.yml` say so."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from llmprov.inventory.findings import Finding
from llmprov.inventory.source import AnsibleSource, Entry, UnresolvedError, has_template
from llmprov.inventory.suggest import near, remedy_for
from llmprov.paths import content_root
from llmprov.stages import YAML_LOADER

OWN_PREFIX = "x_"
"""Keys with this prefix are the user's own: for their templates and playbooks."""
VAULT_PREFIX = "vault_"
"""Ansible's convention for a secret that stands encrypted in one file and is named in another."""
type Specs = Mapping[str, Mapping[str, object]]

_CONNECTION = frozenset(
    f"ansible_{name}"
    for name in (
        *("connection", "host", "port", "user", "password", "private_key_file", "pipelining", "remote_tmp", "timeout"),
        *("ssh_host", "ssh_port", "ssh_user", "ssh_pass", "ssh_password", "ssh_private_key_file", "ssh_executable"),
        *("ssh_common_args", "ssh_extra_args", "ssh_retries", "ssh_pipelining", "ssh_timeout", "control_path"),
        *("become", "become_method", "become_user", "become_password", "become_pass", "become_exe", "become_flags"),
        *("sudo_pass", "sudo_exe", "shell_type", "shell_executable", "python_interpreter", "host_key_checking"),
        *("ssh_host_key_checking", "ssh_args", "scp_extra_args", "sftp_extra_args", "ssh_transfer_method"),
    )
)
_REMEDY = (
    "see docs/inventory.md for the keys there are; a variable of your own needs a name that starts with " + OWN_PREFIX
)
_RELAXED = ("required", "required_if", "default")


@cache
def role_specs(roles: Path | None = None) -> Specs:
    """Return the specification of every role variable, by name."""
    specs: dict[str, Mapping[str, object]] = {}
    for file in sorted((roles or content_root() / "roles").glob("*/meta/argument_specs.y*ml")):
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=YAML_LOADER) or {}  # noqa: S506 - libyaml's safe one
        for entry_point in (content.get("argument_specs") or {}).values():
            specs.update((entry_point or {}).get("options") or {})
    return specs


def check_variables(source: AnsibleSource, specs: Specs, defaults: Mapping[str, object]) -> list[Finding]:
    """Find unknown keys and values of the wrong type among everything that is written in the inventory."""
    findings: dict[tuple[object, ...], Finding] = {}
    for entry in source.entries():
        finding = _unknown(entry, specs) or _mistyped(source, entry, specs, defaults)
        if finding:
            findings.setdefault((entry.key, entry.place, finding.problem), finding)
    return list(findings.values())


def _unknown(entry: Entry, specs: Specs) -> Finding | None:
    if entry.key in specs or entry.key.startswith((OWN_PREFIX, VAULT_PREFIX)) or entry.key in _CONNECTION:
        return None
    if entry.key.startswith("ansible_"):
        slip = near(entry.key, _CONNECTION) if not entry.key.endswith("_interpreter") else ""
        if not slip:
            return None
        return Finding("unknown key", f"did you mean {slip}?", entry.place, entry.key, entry.value)
    remedy = remedy_for(entry.key, (*specs, *_CONNECTION), _REMEDY)
    return Finding("unknown key", remedy, entry.place, entry.key, entry.value)


def _mistyped(source: AnsibleSource, entry: Entry, specs: Specs, defaults: Mapping[str, object]) -> Finding | None:
    spec = specs.get(entry.key)
    if spec is None:
        return None
    value = entry.value
    if has_template(value):
        host = _some_host(source, entry)
        try:
            value = source.resolve(host, entry.key, defaults) if host else None
        except UnresolvedError as error:
            if error.encrypted:
                return Finding(f"cannot be decrypted: {error}", error.remedy, entry.place, entry.key, entry.value)
            return None  # it may need facts of the host, which only the play has
    if value is None:
        return None
    problem = type_error(entry.key, value, spec)
    if not problem:
        return None
    return Finding(problem, _type_remedy(spec), entry.place, entry.key, entry.value)


def type_error(key: str, value: object, spec: Mapping[str, object]) -> str:
    """Return why a value does not fit its specification; empty when it does."""
    relaxed = {name: part for name, part in spec.items() if name not in _RELAXED}
    messages: Iterable[str] = ArgumentSpecValidator({key: relaxed}).validate({key: value}).error_messages
    # The value is shown by the finding, masked where need be; Ansible's message would repeat it in full.
    return "; ".join(_without_value(message) for message in messages)


def _without_value(message: str) -> str:
    if match := re.search(r"unable to convert to (\w+)", message):
        return f"is no {match[1]}"
    if match := re.search(r"must be one of: (.*?), got", message):
        return f"must be one of {match[1]}"
    return message


def _type_remedy(spec: Mapping[str, object]) -> str:
    if choices := spec.get("choices"):
        return f"use one of {', '.join(map(str, choices))}" if isinstance(choices, list) else "use one of the choices"
    elements = f" of {spec['elements']}" if "elements" in spec else ""
    return f"give a value of type {spec.get('type', 'str')}{elements}"


def _some_host(source: AnsibleSource, entry: Entry) -> str:
    kind, _, name = entry.owner.partition(" ")
    if kind == "host":
        return name
    return next(iter(source.group_order(name)), "")
