"""A valid inventory becomes the values that everything else works with."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from pydantic import ValidationError

from llmprov.inventory import load
from tests.unit.inventory.conftest import HOSTS, MODEL, Write


def test_hosts_settings_and_models(write: Write) -> None:
    path = write(group_vars="cluster_name: rack\ncluster_gpu_mode: simulated\n", chat=MODEL)
    inventory = load(path)
    assert [host.name for host in inventory.hosts] == ["cp1", "gpu1", "gpu2"]
    assert [host.name for host in inventory.gpu_workers] == ["gpu1", "gpu2"]
    assert inventory.workers == inventory.gpu_workers
    assert inventory.first_control_plane.name == "cp1"
    assert inventory.settings.name == "rack"
    assert inventory.settings.pod_cidr == IPv4Network("10.244.0.0/16")
    assert inventory.settings.api_host == "10.0.0.11"
    assert inventory.model("chat").public_name == "chat"
    assert inventory.warnings == ()
    with pytest.raises(KeyError):
        inventory.host("nobody")
    with pytest.raises(KeyError):
        inventory.model("nothing")


def test_ssh_target_has_resolved_templates(write: Write) -> None:
    path = write()
    target = load(path).host("gpu1").ssh
    assert target.host == "10.0.0.21"
    assert target.port == 2222
    assert target.user == "ops"
    assert target.common_args == ("-F", f"{path}/ssh.cfg")


def test_a_hosts_file_is_as_good_as_its_directory(write: Write) -> None:
    path = write(chat=MODEL)
    from_file = load(path / "hosts.yml")
    assert from_file.hosts == load(path).hosts
    assert from_file.models == load(path).models
    assert from_file.directory == path


def test_an_ini_inventory_loads(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(
        "[control_plane]\ncp1 ansible_host=10.0.0.1\n[gpu_workers]\ngpu[1:2]\n[workers:children]\ngpu_workers\n",
        encoding="utf-8",
    )
    assert [host.address for host in load(tmp_path).hosts] == ["10.0.0.1", "gpu1", "gpu2"]


def test_the_order_is_that_of_the_groups(write: Write) -> None:
    hosts = """
        all:
          hosts:
            b: {ansible_host: 10.0.0.2}
            a: {ansible_host: 10.0.0.1}
          children:
            workers: {hosts: {b: {}}}
            control_plane: {hosts: {a: {}}}
    """
    assert [host.name for host in load(write(hosts)).hosts] == ["a", "b"]


def test_an_address_inside_the_cluster_may_differ(write: Write) -> None:
    hosts = HOSTS.replace("{ansible_host: 10.0.0.11}", "{ansible_host: 192.0.2.1, cluster_node_address: 10.0.0.11}")
    host = load(write(hosts)).host("cp1")
    assert (host.address, host.node_address) == ("192.0.2.1", "10.0.0.11")


def test_keys_of_the_user_are_left_alone(write: Write) -> None:
    inventory = load(write(group_vars="x_site: here\n"))
    assert inventory.host("cp1").variables["x_site"] == "here"


def test_values_cannot_change(write: Write) -> None:
    inventory = load(write())
    with pytest.raises(ValidationError):
        inventory.settings.name = "other"  # type: ignore[misc]


def test_secrets_are_not_in_the_repr(write: Write) -> None:
    inventory = load(write(group_vars="ansible_become_password: hunter2\n"))
    assert "hunter2" not in repr(inventory)


@pytest.mark.parametrize("count", [2, 4])
def test_an_even_number_of_control_planes_is_a_warning(write: Write, count: int) -> None:
    extra = "".join(f"\n            cp{n}: {{ansible_host: 10.0.0.{10 + n}}}" for n in range(2, count + 1))
    hosts = HOSTS.replace("cp1: {ansible_host: 10.0.0.11}", "cp1: {ansible_host: 10.0.0.11}" + extra)
    warnings = load(write(hosts)).warnings
    assert any(f"{count} control planes" in line and "use 1, 3 or 5" in line for line in warnings)
    assert any("cluster_api_host" in line and "address of one host" in line for line in warnings)


def test_a_host_of_no_group_and_a_cluster_of_no_worker_are_warnings(write: Write) -> None:
    hosts = """
        all:
          hosts: {spare: {ansible_host: 10.0.0.9}}
          children:
            control_plane: {hosts: {cp1: {ansible_host: 10.0.0.11}}}
    """
    warnings = "\n".join(load(write(hosts)).warnings)
    assert "spare: is in none of the groups" in warnings
    assert "no worker" in warnings
