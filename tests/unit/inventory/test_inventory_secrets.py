"""Secrets: encrypted files, encrypted values, templates that name them; resolved when asked for, shown never."""

from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest
from ansible import constants
from ansible.parsing.vault import VaultLib, VaultSecret

from llmprov.errors import InventoryError
from llmprov.inventory import Host, load
from tests.unit.inventory.conftest import Write

VAULT = VaultLib([("default", VaultSecret(b"right"))])


@pytest.fixture
def open_vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that gives Ansible the password; it reads its settings once, when it is imported."""

    def give() -> None:
        password = tmp_path / "password"
        password.write_text("right\n", encoding="utf-8")
        monkeypatch.setattr(constants, "DEFAULT_VAULT_PASSWORD_FILE", str(password))

    return give


def inline(key: str, value: str) -> str:
    return f"{key}: !vault |\n{indent(VAULT.encrypt(value).decode(), '  ')}\n"


def encrypt(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(VAULT.encrypt(text))


def password_of(host: Host) -> str:
    assert host.sudo_password is not None
    return host.sudo_password()


@pytest.mark.parametrize(
    ("line", "password"),
    [
        ("ansible_become_password: hunter2", "hunter2"),
        ("ansible_become_pass: 12345", "12345"),
        ("ansible_sudo_pass: \"{{ 'hunter' ~ 2 }}\"", "hunter2"),
    ],
)
def test_a_sudo_password_is_resolved(write: Write, line: str, password: str) -> None:
    assert password_of(load(write(group_vars=line)).host("cp1")) == password


def test_no_sudo_password(write: Write) -> None:
    assert load(write()).host("cp1").sudo_password is None


def test_a_sudo_password_may_name_a_variable_of_an_encrypted_file(write: Write, open_vault: Callable[[], None]) -> None:
    path = write(group_vars='ansible_become_password: "{{ vault_sudo }}"')
    encrypt(path / "host_vars" / "cp1.yml", "vault_sudo: hunter2")
    open_vault()
    inventory = load(path)
    assert password_of(inventory.host("cp1")) == "hunter2"
    assert "hunter2" not in repr(inventory)
    with pytest.raises(InventoryError, match=r"ansible_become_password of host gpu1 .*'vault_sudo' is undefined"):
        password_of(inventory.host("gpu1"))


def test_an_encrypted_sudo_password(write: Write, open_vault: Callable[[], None]) -> None:
    path = write(group_vars=inline("ansible_become_password", "hunter2"))
    host = load(path).host("cp1")
    with pytest.raises(InventoryError, match="ansible_become_password of host cp1 cannot be resolved") as caught:
        password_of(host)
    assert "ANSIBLE_VAULT_PASSWORD_FILE" in caught.value.remedy
    open_vault()
    for _ in range(2):  # one process may load twice
        host = load(path).host("cp1")
        assert password_of(host) == "hunter2"
    assert "hunter2" not in str(host.variables)


def test_an_encrypted_setting(write: Write, open_vault: Callable[[], None]) -> None:
    path = write(group_vars=inline("cluster_name", "rack-7"))
    with pytest.raises(InventoryError) as caught:
        load(path)
    (line,) = caught.value.details
    assert "group_vars/all.yml:1:1: cluster_name = ********: cannot be decrypted" in line
    open_vault()
    assert load(path).settings.name == "rack-7"


def test_no_value_of_an_encrypted_file_is_shown(write: Write, open_vault: Callable[[], None]) -> None:
    path = write()
    encrypt(path / "host_vars" / "cp1.yml", "clutser_name: rack-7")
    open_vault()
    with pytest.raises(InventoryError) as caught:
        load(path)
    (line,) = caught.value.details
    assert "clutser_name = ********: unknown key" in line


def test_a_secret_that_differs_between_hosts_is_not_shown(write: Write) -> None:
    path = write()
    for name in ("cp1", "gpu1"):
        file = path / "host_vars" / f"{name}.yml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"cluster_monitoring: {{webhook: 'https://ops:hunter2{name}@example.com'}}\n", encoding="utf-8")
    with pytest.raises(InventoryError) as caught:
        load(path)
    text = "\n".join(caught.value.details)
    assert "cp1 has ********, gpu1 has ********" in text
    assert "hunter2" not in text
