"""Bare hosts to Ready nodes and back: check mode, interruption, second run, reset, and hosts that refuse."""

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmprov.lab.tools import wait_until
from tests.lab.conftest import KUBECTL, Lab, booted
from tests.lab.looks import belongings
from tests.lab.polling import until
from tests.lab.processes import MARK, marked, on_host

pytestmark = pytest.mark.lab
CHECKOUT = Path(__file__).parents[2]
HOSTS = ("cp1", "gpu1")
type Bare = dict[str, dict[str, set[str]]]
_TO_NODES = ("--skip-preflight", "--until", "network")
# The engine's image is large enough to be seen on its way.
_UPLOADS = "var/lib/llmprov-registry/docker/registry/v2/repositories/llmprov.internal/vllm/_uploads/*"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, lab_environment: dict[str, str]) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("install")
    with booted("install", directory, lab_environment, "--hosts", "2", "--subnet", "10.77.42.0/24") as running:
        for host in HOSTS:
            variables = running.inventory / "host_vars" / f"{host}.yml"
            variables.parent.mkdir(exist_ok=True)
            variables.write_text("timesync_enabled: true\n", encoding="utf-8")
        yield running


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Bare:
    """How the hosts look before anything is installed."""
    return {host: belongings(lab, host) for host in HOSTS}


def _install(lab: Lab, *arguments: str) -> dict[str, Any]:
    done = lab.llmprov("install", "-i", str(lab.inventory), "--until", "network", "--json", *arguments)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_check_mode_on_bare_hosts_changes_nothing(lab: Lab, bare: Bare) -> None:
    document = _install(lab, "--check")
    assert any(line.startswith("gpu1: ") for line in document["changes"])
    assert {host: belongings(lab, host) for host in bare} == bare


def test_plain_ansible_says_what_it_would_change(lab: Lab, bare: Bare) -> None:
    """As docs/roles.md has it: from a checkout, with nothing but Ansible."""
    command = [sys.executable, "-m", "ansible", "playbook", "playbooks/install.yml", "-i", str(lab.inventory)]
    options = ["--check", "--diff", "--extra-vars", "registry_push=core"]
    done = subprocess.run([*command, *options], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "+++ after: /etc/sysctl.d/90-llmprov.conf" in done.stdout
    assert re.search(r"^gpu1 +: ok=\d+ +changed=[1-9]\d* +unreachable=0 +failed=0", done.stdout, re.MULTILINE)
    assert {host: belongings(lab, host) for host in bare} == bare


@dataclass(frozen=True)
class Moment:
    """When Ctrl-C is pressed: as soon as a host (and has a file), or the install itself, runs such a process."""

    words: str
    host: str = ""
    file: str = ""
    arguments: tuple[str, ...] = _TO_NODES

    def has_come(self, lab: Lab, mark: str) -> bool:
        """Whether it is time."""
        if self.host:
            return on_host(lab.name, self.host, self.words, self.file)
        return bool(marked(mark, self.words))


# In the order in which an install comes to them: each goes on from where the one before was stopped.
MOMENTS = {
    "preflight": Moment("playbooks/preflight.yml", arguments=()),
    "registry": Moment("llmprov-registry serve", "cp1"),
    "push": Moment("llmprov-registry serve", "cp1", _UPLOADS, arguments=("--skip-preflight",)),
    "runtime": Moment("/usr/local/bin/containerd", "gpu1"),
    "packages": Moment("/usr/bin/dpkg --", "cp1"),
    "kubeadm init": Moment("kubeadm init", "cp1"),
    "kubeadm join": Moment("kubeadm join", "gpu1"),
    "Kubernetes API": Moment(":6443"),
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_ctrl_c_leaves_no_process(lab: Lab, bare: Bare, moment: Moment, tmp_path: Path) -> None:
    assert bare
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "llmprov", "install", "-i", str(lab.inventory), *moment.arguments]
    environment = lab.environment | {MARK: mark}
    with (tmp_path / "printed").open("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(command, env=environment, stderr=printed, start_new_session=True)
        try:
            assert wait_until(lambda: moment.has_come(lab, mark) or process.poll() is not None, 180)
            assert process.poll() is None, Path(printed.name).read_text(encoding="utf-8")
            os.killpg(process.pid, signal.SIGINT)
            if not wait_until(lambda: process.poll() is not None, 1):
                os.killpg(process.pid, signal.SIGINT)  # as people do who do not like to wait
            assert process.wait(30) == 130
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    words = Path(printed.name).read_text(encoding="utf-8")
    assert "error: interrupted\nremedy: run the same command again" in words
    assert "Traceback" not in words
    wait_until(lambda: not marked(mark), 2)  # what was killed is still being buried
    assert marked(mark) == []


def test_the_same_command_completes_and_then_changes_nothing(lab: Lab) -> None:
    _install(lab)
    again = _install(lab)
    assert {host: counts["changed"] for host, counts in again["hosts"].items()} == {"cp1": 0, "gpu1": 0}
    assert again["objects"]["changes"] == 0
    nodes = lab.ssh("cp1", f"{KUBECTL} get nodes --no-headers")
    assert [line.split()[:2] for line in sorted(nodes.splitlines())] == [["cp1", "Ready"], ["gpu1", "Ready"]]


def test_workers_take_their_time_from_the_first_control_plane(lab: Lab) -> None:
    """Chrony really asks; it cannot set a lab host's clock, which is the machine's."""
    sources = "chronyc -c sources"
    until(lambda: lab.ssh("gpu1", sources).startswith("^,*,10.77.42.11,"), seconds=60, what="a time source")
    assert lab.ssh("cp1", sources) == ""


def test_a_journal_is_left_and_nothing_else(lab: Lab) -> None:
    runs = Path(lab.environment["LLMPROV_STATE_DIR"]) / "runs"
    assert {path.name for path in runs.rglob("*") if path.is_file()} == {"journal.jsonl"}


def test_a_host_that_is_down_is_named_with_its_remedy(lab: Lab) -> None:
    lab.llmprov("lab", "cut", "gpu1", "--name", lab.name)
    try:
        done = lab.llmprov(
            "install", "-i", str(lab.inventory), "--until", "worker", "--skip-preflight", check=False, timeout=300
        )
    finally:
        lab.llmprov("lab", "heal", "gpu1", "--name", lab.name)
    assert done.exit_code == 6
    assert "error: 1 host does not answer: gpu1; no worker is left" in done.stderr
    assert "remedy:" in done.stderr


def test_a_changed_host_key_stops_the_install(lab: Lab, tmp_path: Path) -> None:
    """Somebody else answers at gpu1's address: nothing is sent to it."""
    known = tmp_path / "known_hosts"
    config = (lab.inventory / "ssh.cfg").read_text(encoding="utf-8")
    original = Path(re.findall(r'UserKnownHostsFile "?([^"\n]+)"?', config)[0])
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    other = " ".join((tmp_path / "other.pub").read_text(encoding="ascii").split()[:2])
    lines = original.read_text(encoding="ascii").splitlines()
    changed = [
        f"{line.split()[0]} {other}" if "gpu1" in line.split()[0] or ".21" in line.split()[0] else line
        for line in lines
    ]
    known.write_text("\n".join(dict.fromkeys(changed)) + "\n", encoding="ascii")
    (lab.inventory / "ssh.cfg").write_text(config.replace(str(original), str(known)), encoding="utf-8")
    try:
        done = lab.llmprov("install", "-i", str(lab.inventory), "--until", "base", "--skip-preflight", check=False)
    finally:
        (lab.inventory / "ssh.cfg").write_text(config, encoding="utf-8")
    assert done.exit_code == 6
    assert "gpu1" in done.stderr
    assert "ssh-keygen" in done.stderr


def test_reset_brings_bare_hosts_back(lab: Lab, bare: Bare) -> None:
    refused = lab.llmprov("reset", "-i", str(lab.inventory), check=False)
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    lab.llmprov("reset", "-i", str(lab.inventory), "--yes")
    for host, before in bare.items():
        after = belongings(lab, host)
        left = {what: after[what] - before[what] for what in before}
        gone = {what: before[what] - after[what] for what in before}
        assert left == {"files": set(), "units": set(), "links": set()}, host
        assert gone == {"files": set(), "units": set(), "links": set()}, host


def test_after_a_reset_it_installs_again(lab: Lab) -> None:
    assert all(counts["changed"] > 0 for counts in _install(lab)["hosts"].values())
