"""A lab driven verb by verb, as a user does, and what it leaves on the machine."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BareLab:
    """A lab with state and inventory of its own, so that labs that run beside it do not matter."""

    name: str
    home: Path

    @property
    def inventory(self) -> Path:
        """Where `up` writes hosts.yml and ssh.cfg."""
        return self.home / "inventory"

    @property
    def environment(self) -> Mapping[str, str]:
        """State of its own, the user's caches."""
        return {**os.environ, "LLMPROV_STATE_DIR": str(self.home / "state"), "LLMPROV_PROGRESS": "silent"}

    @property
    def files(self) -> Path:
        """The lab's own files."""
        return self.home / "state" / "lab" / self.name

    def command(self, verb: str, *arguments: str) -> list[str]:
        """The command line of a lab verb."""
        inventory = ["--inventory", str(self.inventory)] if verb == "up" else []
        return [sys.executable, "-m", "llmprov", "lab", verb, "--name", self.name, *inventory, *arguments]

    def __call__(self, verb: str, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a lab verb."""
        done = subprocess.run(
            self.command(verb, *arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert (done.returncode == 0) is ok, done.stderr
        return done

    def on(self, host: str, script: str, *, ok: bool = True, user: str = "ops") -> str:
        """Run a script on a host by plain ssh."""
        config = str(self.inventory / "ssh.cfg")
        done = subprocess.run(
            ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-F", config, f"{user}@{host}", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return (done.stdout if ok else done.stdout + done.stderr).strip()

    def states(self) -> dict[str, str]:
        """The state of every host."""
        return {host["name"]: host["state"] for host in json.loads(self("status", "--json").stdout)["hosts"]}


def traces(lab: BareLab) -> dict[str, list[str]]:
    """Everything on this machine that belongs to the lab."""
    state = str(lab.home / "state")
    groups = Path("/sys/fs/cgroup")
    return {
        "mounts": [line for line in Path("/proc/self/mounts").read_text().splitlines() if state in line],
        "cgroups": [str(path) for path in groups.glob(f"**/llmprov-lab/{lab.name}")],
        "processes": [_describe(pid) for pid in pids_running(lab.name)],
        "files": [str(path) for path in (lab.home / "state" / "lab").glob("**/*")],
        "inventory": [str(path) for path in lab.inventory.glob("**/*")],
    }


def pids_running(*words: str) -> list[int]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            text = (directory / "cmdline").read_text() + (directory / "cgroup").read_text()
            ended = (directory / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:  # gone meanwhile
            continue
        if not ended and all(word in text for word in words) and int(directory.name) != os.getpid():
            found.append(int(directory.name))
    return found


def namespaces(lab: BareLab) -> set[int]:
    return {file.stat().st_ino for file in (lab.files / "net").iterdir()}


def all_namespaces() -> set[int]:
    listed = subprocess.run(["lsns", "-t", "net", "-n", "-o", "NS"], capture_output=True, text=True, check=True)
    return {int(line) for line in listed.stdout.split()}


def _describe(pid: int) -> str:
    return f"{pid} {Path(f'/proc/{pid}/stat').read_text()} {Path(f'/proc/{pid}/cgroup').read_text()}"
