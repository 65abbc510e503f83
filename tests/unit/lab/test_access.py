"""Inventory and ssh_config: what they say, whom they spare, and that they go again."""

import subprocess
from pathlib import Path

import pytest
import yaml

from llmprov.errors import LabError
from llmprov.lab import access, store
from llmprov.lab.spec import LabSpec
from llmprov.lab.store import LabFiles

KEYS = {"cp1": "ssh-ed25519 AAAA1 one", "gpu1": "ssh-ed25519 AAAA2 two", "gpu2": "ssh-ed25519 AAAA3 three"}


@pytest.fixture
def files(home: Path) -> LabFiles:
    del home
    return store.files("unit")


def test_ssh_understands_the_configuration(spec: LabSpec, files: LabFiles, tmp_path: Path) -> None:
    config = tmp_path / "ssh.cfg"
    config.write_text(access.ssh_config(spec, files))
    for name in ("gpu1", "10.77.0.21"):
        shown = subprocess.run(["ssh", "-G", "-F", str(config), name], capture_output=True, text=True, check=True)
        options = dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)
        assert options["hostname"] == "10.77.0.21"
        assert options["user"] == "ops"
        assert options["stricthostkeychecking"] == "true"
        assert options["userknownhostsfile"] == str(files.known_hosts)
        assert options["identityfile"] == str(files.key)


def test_the_inventory_says_names_addresses_groups_and_login(spec: LabSpec) -> None:
    inventory = yaml.safe_load(access.hosts_yaml(spec))["all"]
    assert inventory["vars"]["ansible_user"] == "ops"
    assert inventory["children"]["control_plane"]["hosts"] == {"cp1": {"ansible_host": "10.77.0.11"}}
    assert list(inventory["children"]["gpu_workers"]["hosts"]) == ["gpu1", "gpu2"]
    assert inventory["children"]["workers"]["children"] == {"gpu_workers": {}}


def test_known_hosts_name_each_host_twice(spec: LabSpec, files: LabFiles, tmp_path: Path) -> None:
    access.write(spec, files, tmp_path / "inventory", KEYS)
    assert files.known_hosts.read_text().splitlines()[0] == "cp1,10.77.0.11 ssh-ed25519 AAAA1 one"
    assert access.inventories(files) == (tmp_path / "inventory",)


def test_a_new_directory_becomes_a_whole_inventory_and_goes_again(
    spec: LabSpec, files: LabFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = tmp_path / "content/inventories/lab"
    (packaged / "group_vars").mkdir(parents=True)
    (packaged / "group_vars/all.yml").write_text("cluster_name: lab\n")
    (packaged / "hosts.yml").write_text("somebody else's\n")
    monkeypatch.setattr("llmprov.paths.content_root", lambda: tmp_path / "content")
    inventory = tmp_path / "new/inventory"
    access.write(spec, files, inventory, KEYS)
    assert (inventory / "group_vars/all.yml").read_text() == "cluster_name: lab\n"
    assert "somebody" not in (inventory / "hosts.yml").read_text()
    access.forget(files)
    assert not (tmp_path / "new").exists()


def test_what_a_person_wrote_or_changed_stays(spec: LabSpec, files: LabFiles, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    access.write(spec, files, inventory, KEYS)
    (inventory / "hosts.yml").write_text("# mine now\n")
    access.forget(files)
    assert [file.name for file in sorted(inventory.iterdir())] == ["group_vars", "hosts.yml"]


def test_a_foreign_inventory_is_not_overwritten(spec: LabSpec, files: LabFiles, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    (inventory / "hosts.yml").write_text("all: {}\n")
    with pytest.raises(LabError, match="was not written for lab unit") as caught:
        access.write(spec, files, inventory, KEYS)
    assert "--inventory" in caught.value.remedy
    assert (inventory / "hosts.yml").read_text() == "all: {}\n"
    assert not (inventory / "ssh.cfg").exists()


def test_a_lab_that_wrote_nothing_has_nothing_to_forget(files: LabFiles) -> None:
    access.forget(files)
    assert access.inventories(files) == ()
