"""The whole road on this machine: Ansible, the module, the rules; and what is said when a host cannot be asked."""

import socket
from pathlib import Path

import pytest

from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.errors import BundleError, PreflightError
from llmprov.inventory import Inventory, load
from llmprov.preflight.findings import CONNECTION
from llmprov.progress import NullProgress
from llmprov.runner import Cause, Failure, HostOutcome, RunResult
from llmprov.workflows import preflight
from llmprov.workflows.preflight_connection import _forget_key, explain


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep journals out of the user's state directory."""
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("LLMPROV_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "inventory"


def inventory(directory: Path, host: str, group_vars: str = "") -> Inventory:
    """Load an inventory of one control plane."""
    (directory / "group_vars").mkdir(parents=True)
    (directory / "group_vars" / "all.yml").write_text(group_vars or "{}", encoding="utf-8")
    (directory / "hosts.yml").write_text(
        f"all: {{children: {{control_plane: {{hosts: {{cp1: {host}}}}}}}}}", encoding="utf-8"
    )
    return load(directory)


def test_this_machine_answers(state: Path) -> None:
    local = "{ansible_host: 127.0.0.1, ansible_connection: local, ansible_become: false}"
    report = preflight.run(inventory(state, local), NullProgress())
    assert report.hosts == ("cp1",)
    assert not [finding for finding in report.findings if finding.check in {CONNECTION, "facts", "time"}]
    assert report.seconds > 0


def test_nobody_listens(state: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = f"{{ansible_host: 127.0.0.1, ansible_port: {closed.getsockname()[1]}, ansible_ssh_common_args: -F none}}"
        report = preflight.run(inventory(state, host), NullProgress())
    (finding,) = report.errors
    assert (finding.host, finding.check) == ("cp1", CONNECTION)
    assert "unreachable over SSH" in finding.problem
    assert report.exit_code == 6


def test_a_time_out_is_not_waited_for_twice(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("llmprov.ssh.run", lambda *arguments, **_: asked.append(arguments))
    cluster = inventory(state, "{ansible_host: 192.0.2.11}")
    said = "Failed to connect to the host via ssh: ssh: connect to host 192.0.2.11 port 22: Connection timed out"
    failure = Failure("cp1", "always", "Ask", said, Cause.UNREACHABLE, "look")
    result = RunResult(rc=4, seconds=1.0, hosts=(HostOutcome("cp1", failure=failure),))
    (finding,) = explain(cluster, result, ())
    assert "unreachable over SSH" in finding.problem
    assert "check that the host is up" in finding.remedy
    assert asked == []


def test_a_limit_that_matches_nothing(state: Path) -> None:
    with pytest.raises(PreflightError, match="matches no host"):
        preflight.run(inventory(state, "{ansible_host: 127.0.0.1}"), NullProgress(), limit="gpu9")


def test_needs_come_from_the_bundle(state: Path, tmp_path: Path) -> None:
    cluster = inventory(
        state, "{ansible_host: 127.0.0.1}", f"cluster_bundle_dir: {tmp_path}/b\nregistry_push_port: 5999"
    )
    assert preflight._needs(cluster).bundle == 0
    common = {"version": "1", "source": "s", "sha256": "0" * 64, "licence": "MIT"}
    artifacts = (
        LockedArtifact(kind="image", name="vllm", size=30, ref="docker.io/vllm/vllm-openai:v1", **common),
        LockedArtifact(kind="file", name="kubelet", size=5, **common),
    )
    lock = BundleLock(catalog="registries", created="now", artifacts=artifacts)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "bundle.lock.json").write_text(lock.model_dump_json(by_alias=True), encoding="utf-8")
    needs = preflight._needs(cluster)
    assert (needs.bundle, needs.push_port, needs.engines) == (35, 5999, ())
    (tmp_path / "b" / "bundle.lock.json").write_text("{", encoding="utf-8")
    with pytest.raises(BundleError):
        preflight._needs(cluster)


def test_questions_name_what_must_resolve(state: Path) -> None:
    cluster = inventory(state, "{ansible_host: cp1.rack}", "cluster_api_host: 10.1.2.3")
    questions = preflight._questions(cluster, preflight._needs(cluster))
    assert questions["preflight_names"] == ["cp1.rack"]
    assert 6443 in questions["preflight_ports"]  # type: ignore[operator]


def test_a_changed_key_comes_with_the_command_that_forgets_it(state: Path) -> None:
    host = inventory(state, "{ansible_host: 10.0.0.9, ansible_port: 2222}").host("cp1")
    remedy = _forget_key(host, ("some words", "Offending ED25519 key in /home/me/my hosts:7"))
    assert "ssh-keygen -f '/home/me/my hosts' -R '[10.0.0.9]:2222'" in remedy
    assert _forget_key(host, ("nothing of the kind",)) == ""


def test_facts_that_make_no_sense_are_a_finding(state: Path) -> None:
    cluster = inventory(state, "{ansible_host: 127.0.0.1}")
    facts, findings = preflight._read(cluster, {"cp1": {"facts": {"started": "x"}}, "gpu1": {"msg": "failed"}})
    assert facts == {}
    assert [finding.host for finding in findings] == ["cp1"]
    assert "make no sense" in findings[0].problem
