"""lab.yml: what is filled in, and that every mistake is named."""

from pathlib import Path

import pytest

from llmprov.errors import ExitCode, LabError
from llmprov.lab.spec import Suite, build, load, of_size, size_bytes


def test_a_number_of_hosts_is_one_control_plane_and_gpu_workers() -> None:
    spec = build({"hosts": of_size(3)})
    assert [(host.name, str(host.address), host.groups) for host in spec.hosts] == [
        ("cp1", "10.77.0.11", ("control_plane",)),
        ("gpu1", "10.77.0.21", ("gpu_workers",)),
        ("gpu2", "10.77.0.22", ("gpu_workers",)),
    ]


def test_names_decide_groups_unless_the_file_does() -> None:
    spec = build({"hosts": {"cp1": {}, "node1": {}, "gpu1": {"groups": ["workers", "gpu_workers"]}}})
    assert [host.groups for host in spec.hosts] == [("control_plane",), ("workers",), ("workers", "gpu_workers")]


def test_given_addresses_are_kept_and_not_given_twice() -> None:
    spec = build({"hosts": {"cp1": {}, "cp2": {"address": "10.77.0.11"}}})
    assert [str(host.address) for host in spec.hosts] == ["10.77.0.12", "10.77.0.11"]


def test_a_validated_lab_survives_json() -> None:
    spec = build({"subnet": "10.80.0.0/24", "base": "bookworm", "hosts": {"cp1": {"base": "trixie", "memory": "4G"}}})
    assert build(spec.model_dump(mode="json")) == spec
    assert spec.suite(spec.host("cp1")) is Suite.TRIXIE
    assert spec.hosts[0].memory_bytes == 4 * 1024**3
    assert str(spec.gateway) == "10.80.0.1"


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        ({"hosts": {}}, "a lab needs at least one host"),
        ({"hosts": {"cp1": {"ram": "4G"}}}, "hosts.0.ram: Extra inputs"),
        ({"hosts": {"cp1": {"memory": "4 GB"}}}, "hosts.0.memory"),
        ({"hosts": {"CP1": {}}}, "hosts.0.name"),
        ({"name": "my_lab", "hosts": {"cp1": {}}}, "name: "),
        ({"hosts": [{"name": "a"}, {"name": "a"}]}, "host name used twice: a"),
        ({"hosts": {"a": {"address": "10.77.0.9"}, "b": {"address": "10.77.0.9"}}}, "address used twice: 10.77.0.9"),
        ({"hosts": {"a": {"address": "10.99.0.9"}}}, "address 10.99.0.9 of a is not a host address of 10.77.0.0/24"),
        ({"hosts": {"a": {"address": "10.77.0.1"}}}, "address 10.77.0.1 of a"),
        ({"subnet": "10.77.0.0/29", "hosts": {"a": {}}}, "subnet 10.77.0.0/29 has no address left for a"),
        ({"hosts": {"a": {"binds": {"/srv": "models"}}}}, "not an absolute path: models"),
    ],
)
def test_mistakes_are_named_by_key(data: dict[str, object], finding: str) -> None:
    with pytest.raises(LabError) as caught:
        build(data)
    assert any(finding in line for line in caught.value.details), caught.value.details
    assert caught.value.exit_code is ExitCode.LAB


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(LabError) as caught:
        build({"base": "sid", "hosts": {"cp1": {"disk": "big", "memory": "1"}}})
    assert len(caught.value.details) == 3


def test_an_unknown_host_is_answered_with_the_known_ones() -> None:
    with pytest.raises(LabError) as caught:
        build({"hosts": of_size(2)}).host("gpu7")
    assert caught.value.remedy == "its hosts are: cp1, gpu1"


def test_files_are_read_and_unreadable_ones_named(tmp_path: Path) -> None:
    good, bad, other = tmp_path / "good.yml", tmp_path / "bad.yml", tmp_path / "list.yml"
    good.write_text("hosts: {cp1: {}}\n")
    bad.write_text("hosts: {cp1: {}\n")
    other.write_text("- cp1\n")
    assert build(load(good)).hosts[0].name == "cp1"
    for file, message in ((bad, "is not YAML"), (other, "is not a mapping"), (tmp_path / "none.yml", "cannot be read")):
        with pytest.raises(LabError, match=message):
            load(file)


def test_sizes_need_a_unit() -> None:
    assert size_bytes("512M") == 512 * 1024**2
    with pytest.raises(LabError):
        size_bytes("512")
