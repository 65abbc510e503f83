"""Reads an inventory through Ansible's own loader, so that what llmprov checks is what Ansible will use.

What leaves this file are plain Python values. `Origin` is where Ansible keeps the line and column of every key and
value; it has no public name, which is one reason why ansible-core is pinned below its next minor release.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ansible import constants
from ansible._internal._datatag._tags import Origin
from ansible.errors import AnsibleError
from ansible.inventory.manager import IGNORED, InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import EncryptedString, VaultHelper, VaultSecret, VaultSecretsContext
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible.vars.plugins import get_vars_from_inventory_sources

from llmprov.inventory import ansible_messages
from llmprov.inventory.findings import Finding, Place

MODELS = "models"
LEADING_GROUPS = ("control_plane", "workers")
_TEMPLATE = re.compile(r"\{\{|\{%|\A\$ANSIBLE_VAULT;")
_VAULT_REMEDY = "name the file with the vault's password in ANSIBLE_VAULT_PASSWORD_FILE"


class UnresolvedError(ValueError):
    """A template or an encrypted value that cannot be resolved; the text says why, and never holds the value.

    Attributes:
        encrypted: whether the password of a vault is what lacks.
        remedy: what to do.
    """

    def __init__(self, error: AnsibleError, key: str = "") -> None:
        super().__init__(f"{key}: {error.message}".strip(": "))
        self.encrypted = _is_about_decryption(str(error.message))
        self.remedy = _VAULT_REMEDY if self.encrypted else "correct the template"


@dataclass(frozen=True, slots=True)
class Entry:
    """One variable as it is written: raw value, owner (`group all`, `host gpu1`) and place."""

    key: str
    value: object
    owner: str
    place: Place


@dataclass(frozen=True, slots=True)
class RawHost:
    """One host before any check: merged variables, templates and encrypted values as they are written."""

    name: str
    place: Place
    groups: frozenset[str]
    variables: Mapping[str, object]
    places: Mapping[str, Place]


class AnsibleSource:
    """An inventory as Ansible sees it.

    Args:
        path: a directory or a hosts file; both as `ansible -i` takes them.
    """

    def __init__(self, path: Path) -> None:
        self.findings: list[Finding] = []
        _find_plugins()
        self._loader = DataLoader()
        self._loader.set_basedir(str(path if path.is_dir() else path.parent))
        _set_vault_secrets(self._loader)
        self._files = source_files(path)
        with ansible_messages.caught() as messages:
            try:
                self._manager = InventoryManager(loader=self._loader, sources=[str(file) for file in self._files])
            except AnsibleError as error:
                self.findings.append(_finding(error))
                self._manager = InventoryManager(loader=self._loader, sources=None, parse=False)
        self.findings += ansible_messages.findings(messages)
        self._variables = VariableManager(loader=self._loader, inventory=self._manager)
        # Templates may look at other hosts; this is how a playbook's run gives them `hostvars`.
        HostVars(inventory=self._manager, variable_manager=self._variables, loader=self._loader)

    def unreadable(self) -> list[Finding]:
        """Return why variables cannot be read, such as encrypted files without a password; nothing else works then."""
        findings: list[Finding] = []
        for owner in (*self._manager.groups.values(), *self._manager.hosts.values()):
            try:
                self._beside(owner)
            except AnsibleError as error:
                findings.append(_finding(error))
        return list(dict.fromkeys(findings))

    def entries(self) -> Iterator[Entry]:
        """Yield every variable of every group and host that is written down somewhere, once per place."""
        for group in self._manager.groups.values():
            yield from _entries(f"group {group.name}", {**group.vars, **self._beside(group)})
        for host in self._manager.hosts.values():
            yield from _entries(f"host {host.name}", {**host.vars, **self._beside(host)})

    def hosts(self) -> tuple[RawHost, ...]:
        """Return all hosts: control planes first, then workers, in the order in which a playbook sees them."""
        groups = self._manager.groups
        ordered = dict.fromkeys(name for group in LEADING_GROUPS if group in groups for name in self.group_order(group))
        rest = (str.__str__(name) for name in self._manager.hosts)
        return tuple(self._raw_host(name) for name in dict.fromkeys((*ordered, *rest)))

    def groups(self) -> tuple[str, ...]:
        """Return the names of all groups."""
        return tuple(str.__str__(name) for name in self._manager.groups)

    def group_order(self, group: str) -> tuple[str, ...]:
        """Return the names of a group's hosts, in the order in which a playbook sees them."""
        return tuple(str.__str__(host.name) for host in self._manager.get_hosts(group))

    def resolve(self, host: str, key: str, defaults: Mapping[str, object] | None = None) -> object:
        """Return a variable of a host, decrypted and with its templates resolved.

        Args:
            host: the host's name.
            key: the variable.
            defaults: role defaults: what counts where the inventory says nothing.

        Raises:
            KeyError: neither the inventory nor the defaults have the variable.
            UnresolvedError: a template cannot be resolved, or there is no password to decrypt with.
        """
        variables = {**(defaults or {}), **self._variables.get_vars(host=self._manager.get_host(host))}
        raw = variables[key]
        try:
            return plain(Templar(loader=self._loader, variables=variables).template(raw))
        except AnsibleError as error:
            raise UnresolvedError(error) from error

    def resolve_all(
        self, host: str, keys: Sequence[str], defaults: Mapping[str, object], facts: Mapping[str, object]
    ) -> dict[str, object]:
        """Return those of several variables that a host has, as `resolve` does for one.

        Args:
            host: the host's name.
            keys: the variables.
            defaults: role defaults.
            facts: what templates find under `ansible_facts`.

        Raises:
            UnresolvedError: of the first that cannot be resolved; its text begins with the variable's name.
        """
        written = self._variables.get_vars(host=self._manager.get_host(host))
        variables = {**defaults, **written, "ansible_facts": facts}
        templar = Templar(loader=self._loader, variables=variables)
        found: dict[str, object] = {}
        for key in keys:
            if key not in variables:
                continue
            raw = variables[key]
            try:
                found[key] = plain(templar.template(raw))
            except AnsibleError as error:
                raise UnresolvedError(error, key) from error
        return found

    def load_defaults(self, file: Path) -> dict[str, object]:
        """Return a role's `defaults/main.yml` as Ansible reads it: templates stay templates."""
        loaded = self._loader.load_from_file(str(file), trusted_as_template=True)
        return dict(loaded or {})

    def _beside(self, owner: object) -> Mapping[str, object]:
        """Return what `group_vars/` and `host_vars/` say about a group or host."""
        sources = [str(file) for file in self._files]
        found: Mapping[str, object] = get_vars_from_inventory_sources(self._loader, sources, [owner], "task")
        return found

    def _raw_host(self, name: str) -> RawHost:
        host = self._manager.get_host(name)
        variables = self._variables.get_vars(host=host, include_hostvars=False)
        written = {str.__str__(key): value for key, value in variables.items() if Origin.get_tag(key) is not None}
        return RawHost(
            name=str.__str__(host.name),
            place=_place(host.name),
            groups=frozenset(str.__str__(group.name) for group in host.get_groups()) - {"all", "ungrouped"},
            variables={key: plain(value) for key, value in written.items()},
            places={str.__str__(key): _place(key) for key in variables if Origin.get_tag(key) is not None},
        )


def source_files(path: Path) -> list[Path]:
    """Return the files that Ansible would read hosts from: all but hidden, ignored and `models/`."""
    if not path.is_dir():
        return [path.absolute()]
    ignored = {MODELS}
    return [
        item.absolute()
        for item in sorted(path.iterdir())
        if item.name not in ignored and not IGNORED.search(item.name.encode())
    ]


def has_template(value: object) -> bool:
    """Tell whether a raw value has to be resolved: it holds a Jinja template anywhere, or is encrypted."""
    if isinstance(value, str):
        return bool(_TEMPLATE.search(value))
    if isinstance(value, Mapping):
        return any(has_template(item) for item in (*value.keys(), *value.values()))
    return isinstance(value, list | tuple) and any(has_template(item) for item in value)


def plain(value: object) -> object:
    """Strip Ansible's tagged types: the same value in Python's own types; of an encrypted one, its ciphertext."""
    result = value
    match value:
        case bool() | None:
            pass
        case EncryptedString():
            result = VaultHelper.get_ciphertext(value, with_tags=False)
        case str():
            result = str.__str__(value)
        case int():
            result = int.__int__(value)
        case float():
            result = float.__float__(value)
        case Mapping():
            result = {plain(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set():
            result = [plain(item) for item in value]
    return result


@cache
def _find_plugins() -> None:
    """Let templates use lookups and filters by their full names; once a process."""
    init_plugin_loader()


def _entries(owner: str, variables: Mapping[str, object]) -> Iterator[Entry]:
    for key, value in variables.items():
        place = _place(key)
        if place.file is not None:
            yield Entry(str.__str__(key), plain(value), owner, place)


def _place(tagged: object) -> Place:
    origin = Origin.get_tag(tagged)
    if origin is None or not origin.path:
        return Place()
    return Place(Path(origin.path), origin.line_num or 0, origin.col_num or 0)


def _set_vault_secrets(loader: DataLoader) -> None:
    """Give the passwords of vaults to the loader, for files, and to the context of templates, for single values."""
    secrets = _vault_secrets(loader)
    loader.set_vault_secrets(secrets)
    context = VaultSecretsContext.current(optional=True)
    if context is None:
        VaultSecretsContext.initialize(VaultSecretsContext(secrets))
    else:
        context.secrets = secrets  # there is one context a process, and it cannot be made twice


def _vault_secrets(loader: DataLoader) -> list[tuple[str, VaultSecret]]:
    if not (constants.DEFAULT_VAULT_PASSWORD_FILE or constants.DEFAULT_VAULT_IDENTITY_LIST):
        return []
    from ansible.cli import CLI  # noqa: PLC0415 - checks the locale and configures logging when imported

    identities = list(constants.DEFAULT_VAULT_IDENTITY_LIST)
    secrets: list[tuple[str, VaultSecret]] = CLI.setup_vault_secrets(
        loader, vault_ids=identities, auto_prompt=False, initialize_context=False
    )
    return secrets


def _is_about_decryption(message: str) -> bool:
    return "decrypt" in message.lower()


def _finding(error: AnsibleError) -> Finding:
    message = str(error.message).strip()
    if _is_about_decryption(message):
        return Finding(f"cannot be decrypted: {message}", _VAULT_REMEDY, _place(error.obj))
    remedy = "see https://docs.ansible.com/ansible/latest/inventory_guide/ for the form of an inventory"
    return Finding(message, remedy, _place(error.obj))
