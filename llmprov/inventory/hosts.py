"""Hosts: from Ansible's variables to a `Host` and the SSH target that reaches it."""

import shlex
from collections.abc import Callable, Mapping

from llmprov.errors import InventoryError
from llmprov.inventory.findings import Finding
from llmprov.inventory.source import AnsibleSource, RawHost, UnresolvedError
from llmprov.inventory.values import Host
from llmprov.ssh import SshTarget

_SSH_PORT = 22
_IDENTITY = ("ansible_ssh_private_key_file", "ansible_private_key_file")
_USER = ("ansible_ssh_user", "ansible_user")
_PORT = ("ansible_ssh_port", "ansible_port")
_HOST = ("ansible_ssh_host", "ansible_host")
_SUDO_PASSWORD = ("ansible_sudo_pass", "ansible_become_pass", "ansible_become_password")


def read_host(source: AnsibleSource, raw: RawHost, defaults: Mapping[str, object]) -> tuple[Host | None, list[Finding]]:
    """Resolve a host's connection variables; those that cannot be used come back as findings."""
    reader = _Reader(source, raw, defaults)
    address = reader.text(*_HOST) or raw.name
    node_address = reader.text("cluster_node_address") or address
    user = reader.text(*_USER)
    identity = reader.text(*_IDENTITY)
    port = reader.port(*_PORT)
    arguments = reader.words("ansible_ssh_common_args") + reader.words("ansible_ssh_extra_args")
    if reader.findings:
        return None, reader.findings
    target = SshTarget(host=address, port=port, user=user, identity_file=identity, common_args=arguments)
    return (
        Host(
            name=raw.name,
            address=address,
            node_address=node_address,
            groups=raw.groups,
            user=user,
            port=port or _SSH_PORT,
            ssh=target,
            sudo_password=_sudo_password(source, raw),
            variables=raw.variables,
        ),
        [],
    )


def _sudo_password(source: AnsibleSource, raw: RawHost) -> Callable[[], str] | None:
    """Return what resolves the password when it is needed: it may ask a password store, and is kept nowhere."""
    key = next((key for key in _SUDO_PASSWORD if key in raw.variables), None)
    if key is None:
        return None

    def resolve() -> str:
        try:
            return str(source.resolve(raw.name, key))
        except UnresolvedError as error:
            raise InventoryError(
                f"{raw.places.get(key, raw.place)}: {key} of host {raw.name} cannot be resolved: {error}",
                remedy=error.remedy,
            ) from error

    return resolve


class _Reader:
    """Reads one host's variables by name and collects what cannot be resolved."""

    def __init__(self, source: AnsibleSource, raw: RawHost, defaults: Mapping[str, object]) -> None:
        self.findings: list[Finding] = []
        self._source = source
        self._raw = raw
        self._defaults = defaults

    def text(self, *keys: str) -> str:
        """Return the first of these variables that is set, as text."""
        value = self._first(keys)
        return "" if value is None else str(value)

    def words(self, key: str) -> tuple[str, ...]:
        """Return a variable that holds command-line arguments, split as a shell would."""
        text = self.text(key)
        try:
            return tuple(shlex.split(text))
        except ValueError as error:
            self._report(key, text, f"is no command line: {error}", "balance the quotes")
            return ()

    def port(self, *keys: str) -> int:
        """Return a TCP port; 0 when none is set, which leaves it to the ssh configuration."""
        value = self._first(keys)
        if value is None or (str(value).isdigit() and 0 < int(str(value)) < 65536):  # noqa: PLR2004 - the last port
            return int(str(value or 0))
        self._report(keys[-1], value, "is no TCP port", "give a number from 1 to 65535")
        return 0

    def _first(self, keys: tuple[str, ...]) -> object:
        for key in keys:
            if key in self._raw.variables or key in self._defaults:
                try:
                    return self._source.resolve(self._raw.name, key, self._defaults)
                except UnresolvedError as error:
                    self._report(key, self._raw.variables.get(key), f"cannot be resolved: {error}", error.remedy)
        return None

    def _report(self, key: str, value: object, problem: str, remedy: str) -> None:
        place = self._raw.places.get(key, self._raw.place)
        self.findings.append(Finding(f"{problem} (host {self._raw.name})", remedy, place, key, value))
