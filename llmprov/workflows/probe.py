"""Everything a plan needs to know about the hosts: one call each, all at once. Nothing is changed there.

The script is the source of the modules that Ansible runs on hosts, sent over the standard input of a Python there.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, ValidationError

from llmprov import ssh
from llmprov.errors import HostConnectionError, LlmprovError
from llmprov.host_state import FileState, HostProbe, UnitState, Unprobed
from llmprov.inventory import Host, Inventory
from llmprov.paths import content_root
from llmprov.preflight import Needs
from llmprov.progress import Progress
from llmprov.stages import NewerRecordError, StageRecord

MODULES = ("llmprov_host", "llmprov_probe_facts", "llmprov_probe_files", "llmprov_probe")
"""What a host is sent, in the order in which one needs the other."""

_AT_ONCE = 32
_TIMEOUT = 60.0
_NO_COMMAND = 127
# The document is the last line: where sudo did not ask, the password is left on the line before.
_LOADER = """
import json, sys, types
document = json.loads(sys.stdin.buffer.read().rsplit(b"\\n", 1)[-1])
for name in ("ansible", "ansible.module_utils"):
    sys.modules[name] = types.ModuleType(name)
for name, source in document["modules"]:
    module = types.ModuleType("ansible.module_utils." + name)
    sys.modules[module.__name__] = module
    exec(compile(source, name + ".py", "exec"), module.__dict__)
print(json.dumps(module.probe(**document["request"])))
"""
# Root needs no sudo, which minimal systems lack. Who it is that logs in may be said by ssh's configuration alone.
_SCRIPT = 'if [ "$(id -u)" = 0 ]; then exec "$@"; fi; exec {sudo} "$@"'
_BUG = "run it again with --debug; if it stays, report it as a bug"


def probe_hosts(
    inventory: Inventory,
    progress: Progress,
    *,
    hosts: Sequence[str] = (),
    diff: bool = False,
    root: str = "/",
) -> tuple[tuple[HostProbe, ...], tuple[Unprobed, ...]]:
    """Probe hosts, all at the same time.

    Args:
        inventory: names the hosts and how to log in.
        progress: told how many have answered.
        hosts: names; empty for all.
        diff: whether to find out how managed files differ that somebody else changed.
        root: directory that hosts look for their files in; another one than / is for tests.

    Returns:
        Those that answered and those that did not, both in the inventory's order.
    """
    chosen = [host for host in inventory.hosts if not hosts or host.name in hosts]
    modules = _modules()
    found: dict[str, HostProbe | Unprobed] = {}
    with progress.step("probe") as step, ThreadPoolExecutor(_AT_ONCE) as pool:
        # Questions are made here, one after the other: Ansible's password stores are not for several threads.
        questions = [_question(host, modules, _request(host, inventory, root=root, diff=diff)) for host in chosen]
        running = [pool.submit(_probe, question) for question in questions]
        for number, future in enumerate(as_completed(running), start=1):
            answer = future.result()
            found[answer.host] = answer
            step.update(answer.host, done=number, total=len(running))
    answers = [found[host.name] for host in chosen]
    return (
        tuple(answer for answer in answers if isinstance(answer, HostProbe)),
        tuple(answer for answer in answers if isinstance(answer, Unprobed)),
    )


@dataclass(frozen=True)
class _Question:
    """What one host is asked: a command, and what it reads. `refused` says why it cannot even be asked."""

    host: Host
    argv: tuple[str, ...] = ()
    stdin: bytes = field(default=b"", repr=False)
    refused: Unprobed | None = None


def _modules() -> list[tuple[str, str]]:
    directory = content_root() / "plugins" / "module_utils"
    return [(name, (directory / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES]


def _request(host: Host, inventory: Inventory, *, root: str, diff: bool) -> dict[str, object]:
    first = host.name == inventory.settings.first_control_plane
    registry = str(host.variables.get("registry_data_dir", Needs.registry_path)) if first else ""
    return {"root": root, "registry": registry, "diff": diff}


def _question(host: Host, modules: Sequence[tuple[str, str]], request: Mapping[str, object]) -> _Question:
    document = json.dumps({"modules": modules, "request": request}).encode()
    secret, sudo = b"", "sudo -n"
    if host.sudo_password is not None:
        try:
            secret, sudo = host.sudo_password().encode() + b"\n", "sudo -S -p ''"
        except LlmprovError as error:
            return _Question(host, refused=Unprobed(host.name, error.message, error.remedy))
    if host.variables.get("ansible_become") is False:
        sudo = ""
    argv = ("sh", "-c", _SCRIPT.format(sudo=sudo), "sh", _interpreter(host), "-I", "-S", "-B", "-c", _LOADER)
    return _Question(host, argv, secret + document)


def _interpreter(host: Host) -> str:
    """Return the Python of the inventory where it names one by its path, as opposed to a way to find one."""
    named = str(host.variables.get("ansible_python_interpreter", ""))
    return named if named.startswith("/") and " " not in named else "python3"


def _probe(question: _Question) -> HostProbe | Unprobed:
    host = question.host
    if question.refused is not None:
        return question.refused
    try:
        result = _local(question) if host.variables.get("ansible_connection") == "local" else _remote(question)
    except HostConnectionError as error:
        return Unprobed(host.name, error.message, error.remedy)
    if result.returncode:
        return _failed(host, result)
    try:
        # A login that greets does so on the lines before.
        answer = _Answer.model_validate_json(result.stdout.rstrip().rpartition(b"\n")[2])
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
        return Unprobed(host.name, f"its answer makes no sense ({what.lstrip(': ')})", _BUG)
    return _read(host, answer)


def _remote(question: _Question) -> ssh.RemoteResult:
    return ssh.run(question.host.ssh, question.argv, stdin=question.stdin, timeout=_TIMEOUT)


def _local(question: _Question) -> ssh.RemoteResult:
    try:
        done = subprocess.run(question.argv, input=question.stdin, capture_output=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise HostConnectionError(
            f"{question.host.name}: the probe did not end within {_TIMEOUT:.0f} s", remedy="look at this machine"
        ) from error
    return ssh.RemoteResult(done.returncode, done.stdout, done.stderr.decode(errors="replace").strip())


def _failed(host: Host, result: ssh.RemoteResult) -> Unprobed:
    """Tell why the command failed: sudo and the shell name themselves, Python's reason is the last line."""
    said = result.stderr
    last = said.splitlines()[-1] if said else f"exit status {result.returncode}"
    if "sudo" in said and "Traceback" not in said:
        asks = "a password is required" in said and host.sudo_password is None
        problem = "sudo asks for a password, and the inventory gives none" if asks else f"sudo was refused: {last}"
        remedy = "give the user passwordless sudo, or the right ansible_become_password"
        return Unprobed(host.name, problem, remedy)
    if result.returncode == _NO_COMMAND:
        remedy = "install python3 there, or correct ansible_python_interpreter"
        return Unprobed(host.name, f"there is no {_interpreter(host)}: {last}", remedy)
    return Unprobed(host.name, f"the probe failed: {last}", f"`llmprov preflight` looks for the cause; {_BUG}")


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _File(_Wire):
    sha256: str | None
    difference: str


class _Unit(_Wire):
    LoadState: str
    ActiveState: str
    UnitFileState: str


class _Answer(_Wire):
    """What `llmprov_probe.probe` returns."""

    facts: dict[str, object]
    boot_id: str
    records: dict[str, object]
    unreadable: dict[str, str]
    files: dict[str, _File]
    units: dict[str, _Unit]
    packages: dict[str, str | None]
    images: dict[str, str]


def _read(host: Host, answer: _Answer) -> HostProbe:
    records: dict[str, StageRecord] = {}
    damaged = dict(answer.unreadable)
    newer: dict[str, int] = {}
    for stage, data in answer.records.items():
        try:
            records[stage] = StageRecord.from_data(data)
        except NewerRecordError as error:
            newer[stage] = error.schema
        except (ValueError, TypeError) as error:
            damaged[stage] = str(error)
    return HostProbe(
        host=host.name,
        facts=answer.facts,
        boot_id=answer.boot_id,
        records=records,
        damaged=damaged,
        newer=newer,
        files={path: FileState(item.sha256, item.difference) for path, item in answer.files.items()},
        units={
            name: UnitState(unit.LoadState, unit.ActiveState, unit.UnitFileState) for name, unit in answer.units.items()
        },
        packages=answer.packages,
        images=answer.images,
    )
