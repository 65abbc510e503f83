"""The decisions of the modules that talk to systemd, the kernel and processes; the deeds are tested on lab hosts."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from types import ModuleType

import pytest
from ansible.module_utils.testing import patch_module_args

type Loader = Callable[[str, str], ModuleType]


@pytest.mark.parametrize(
    ("state", "sub_state", "wait", "running"),
    [
        ("active", "running", True, True),
        ("active", "exited", False, True),
        ("activating", "start", True, True),
        ("activating", "auto-restart", True, False),
        ("activating", "auto-restart", False, True),
        ("failed", "failed", True, False),
        ("inactive", "dead", True, False),
    ],
)
def test_a_unit_that_fails_and_tries_again_is_not_up(
    plugin: Loader, state: str, sub_state: str, *, wait: bool, running: bool
) -> None:
    module = plugin("modules", "systemd_units")
    assert module._is_running({"wait": wait}, {"ActiveState": state, "SubState": sub_state}) is running


def test_a_unit_is_outdated_when_a_file_is_newer_than_its_process(plugin: Loader, tmp_path: Path) -> None:
    module = plugin("modules", "systemd_units")
    path = tmp_path / "config"
    path.write_text("x")
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    before = {"ExecMainStartTimestampMonotonic": str(int((now - 60) * 1e6))}
    after = {"ExecMainStartTimestampMonotonic": str(int((now + 60) * 1e6))}
    assert module._is_outdated(before, [str(path)])
    assert not module._is_outdated(after, [str(path)])
    assert not module._is_outdated(before, [str(tmp_path / "absent")])
    # A path unit has no process: what counts is when it became active.
    watching = {"ExecMainStartTimestampMonotonic": "", "ActiveEnterTimestampMonotonic": str(int((now + 60) * 1e6))}
    assert not module._is_outdated(watching, [str(path)])


@pytest.mark.parametrize(
    ("load_state", "need", "enabled", "reload"),
    [
        ("loaded", "no", True, False),
        ("loaded", "yes", None, True),
        ("not-found", "no", True, True),
        ("not-found", "no", False, False),
        ("masked", "no", True, False),
    ],
)
def test_systemd_is_reloaded_when_its_view_is_old(
    plugin: Loader, load_state: str, need: str, *, enabled: bool | None, reload: bool
) -> None:
    module = plugin("modules", "systemd_units")
    spec = {"state": None, "enabled": enabled}
    assert module._needs_reload(spec, {"LoadState": load_state, "NeedDaemonReload": need}) is reload


@pytest.mark.parametrize(
    ("properties", "verbs"),
    [
        ({"LoadState": "masked", "ActiveState": "inactive", "UnitFileState": "masked"}, ["unmask", "enable", "start"]),
        ({"LoadState": "loaded", "ActiveState": "inactive", "UnitFileState": "enabled"}, ["start"]),
        ({"LoadState": "loaded", "ActiveState": "failed", "UnitFileState": "enabled"}, ["reset-failed", "start"]),
        ({"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "disabled"}, ["enable"]),
        ({"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}, []),
    ],
    ids=["masked", "stopped", "failed", "disabled", "well"],
)
def test_a_unit_that_must_run_is_brought_back(plugin: Loader, properties: dict[str, str], verbs: list[str]) -> None:
    module = plugin("modules", "systemd_units")
    # Long after any file was written, so that nothing is restarted.
    started = {"ExecMainStartTimestampMonotonic": str(int((time.clock_gettime(time.CLOCK_MONOTONIC) + 60) * 1e6))}
    systemd = _Systemd({**properties, **started})
    spec = {"name": "a.service", "enabled": True, "masked": False, "state": "started", "restart_on": [], "wait": True}
    module._ensure_unit(systemd, spec)
    assert systemd.verbs == verbs


class _Systemd:
    """Answers with these properties, and notes what it is told to do."""

    def __init__(self, properties: dict[str, str]) -> None:
        self._properties = properties
        self.verbs: list[str] = []

    def show(self, _name: str) -> dict[str, str]:
        return self._properties

    def do(self, verb: str, *_: str) -> None:
        self.verbs.append(verb)


def test_sysctl_names_become_paths(plugin: Loader) -> None:
    module = plugin("modules", "kernel_settings")
    assert module._sysctl_path("net.ipv4.ip_forward") == Path("/proc/sys/net/ipv4/ip_forward")
    assert module._sysctl_path("net.bridge.bridge-nf-call-iptables").name == "bridge-nf-call-iptables"


def test_probe_tells_what_this_machine_is(plugin: Loader) -> None:
    facts = plugin("modules", "host_probe").facts()
    names = "os architecture kernel container cgroup_version swaps kubernetes records"
    assert list(facts) == names.split()
    assert facts["cgroup_version"] in (1, 2)
    assert set(facts["os"]) == {"id", "version", "codename"}
    assert set(facts["kubernetes"]) == {"kubelet_joined", "control_plane", "join_file", "kubeadm_started"}


def test_processes_are_found_by_executable_and_killed(plugin: Loader, tmp_path: Path) -> None:
    module = plugin("modules", "host_cleanup")
    sleep = shutil.which("sleep")
    assert sleep is not None
    program = tmp_path / "shim"
    shutil.copy(sleep, program)
    process = subprocess.Popen([str(program), "60"])
    try:
        assert module._processes_of([str(program)]) == {process.pid}
        program.unlink()
        assert module._processes_of([str(program)]) == {process.pid}, "also when the file was replaced"
        descriptor = os.pidfd_open(process.pid)
        module._kill_and_wait([descriptor], time.monotonic() + 5)
        assert process.wait(timeout=5) == -9
    finally:
        process.kill()
        process.wait()


def test_mount_points_are_listed_with_the_root_first(plugin: Loader) -> None:
    points = plugin("modules", "host_cleanup")._mount_points()
    assert "/" in points
    assert "/proc" in points


@pytest.mark.parametrize(
    ("inner", "outer", "within"),
    [
        ("10.244.1.0/24", "10.244.0.0/16", True),
        ("10.96.0.0/16", "10.244.0.0/16", False),
        ("10.0.0.0/8", "10.244.0.0/16", False),
        ("fd00:1::/64", "fd00:1::/56", True),
        ("10.244.1.0/24", "fd00:1::/56", False),
    ],
)
def test_routes_are_compared_in_both_ip_versions(plugin: Loader, inner: str, outer: str, *, within: bool) -> None:
    module = plugin("modules", "host_cleanup")
    assert module._is_within(ip_network(inner), ip_network(outer)) is within


def test_a_package_is_fetched_for_apt_or_refused(
    plugin: Loader, blobs: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = plugin("modules", "offline_packages")
    monkeypatch.setattr(module, "_DOWNLOADS", tmp_path)
    url, store = blobs
    store["deb"] = b"a package"
    spec = {"package": "nftables", "url": f"{url}/deb", "sha256": hashlib.sha256(b"a package").hexdigest()}
    path = Path(module._fetch(_Failing(), spec))
    assert (path.name, path.read_bytes(), path.stat().st_mode & 0o777) == ("nftables.deb", b"a package", 0o644)
    with pytest.raises(_FailedError, match="the bundle says 00"):
        module._fetch(_Failing(), spec | {"sha256": "00"})
    with pytest.raises(_FailedError, match=r"cannot fetch .* 404"):
        module._fetch(_Failing(), spec | {"url": f"{url}/other"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["nftables.deb"]


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="needs dpkg-query")
def test_packages_are_told_with_the_versions_that_are_on_the_host(
    plugin: Loader, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = plugin("modules", "offline_packages")
    monkeypatch.setenv("PATH", os.environ["PATH"])  # the module sets its own
    blob = {"url": "http://192.0.2.1/", "sha256": "00"}
    packages = [{"package": "dpkg", "version": "1.0", **blob}, {"package": "not-there", "version": "2.0", **blob}]
    with patch_module_args({"packages": packages, "_ansible_check_mode": True}), pytest.raises(SystemExit):
        module.main()
    answer = json.loads(capsys.readouterr().out)
    query = ["dpkg-query", "--show", "--showformat", "${Version}", "dpkg"]
    newer = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    assert answer["packages"] == {"dpkg": newer, "not-there": "2.0"}
    assert answer["installed"] == ["not-there"]


class _FailedError(Exception):
    pass


class _Failing:
    def fail_json(self, msg: str) -> None:
        raise _FailedError(msg)
