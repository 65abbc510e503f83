"""Why a host could not be asked: Ansible says that it failed, OpenSSH says why."""

import re
import shlex
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from llmprov import ssh
from llmprov.errors import HostConnectionError
from llmprov.inventory import Host, Inventory
from llmprov.preflight import Finding
from llmprov.preflight.findings import CONNECTION
from llmprov.runner import Cause, Failure, RunResult

_MOST_PARALLEL = 32
_SECONDS = 15.0
_OFFENDING = re.compile(r"Offending \S+ key in (?P<file>.+):\d+$")
_SUDO_REMEDY = (
    "correct ansible_become_password, and keep it in Ansible Vault; `sudo -v` on the host tells whether it is right"
)
_TIMED_OUT = "timed out"
_CAUSES = frozenset({Cause.HOST_KEY, Cause.AUTHENTICATION, Cause.SUDO, Cause.UNREACHABLE})


def explain(inventory: Inventory, result: RunResult, answered: Collection[str]) -> list[Finding]:
    """Return one finding for each host that gave no facts."""
    failures = [failure for failure in result.failures if failure.host not in answered]
    with ThreadPoolExecutor(max_workers=_MOST_PARALLEL) as pool:
        return list(pool.map(lambda failure: _finding(inventory.host(failure.host), failure), failures))


def _finding(host: Host, failure: Failure) -> Finding:
    if failure.cause is Cause.SUDO:
        given = host.sudo_password is not None
        problem = "sudo refuses the password" if given else "sudo asks for a password, and the inventory gives none"
        return Finding(host.name, CONNECTION, problem, _SUDO_REMEDY if given else failure.remedy)
    if failure.cause not in _CAUSES:
        return Finding(host.name, "facts", failure.message, failure.remedy)
    if failure.cause is Cause.UNREACHABLE and _TIMED_OUT in failure.message:  # it would take as long again
        return _described(host, ssh.classify(host.ssh, failure.message))
    return _ask_openssh(host) or Finding(host.name, CONNECTION, _first_line(failure.message), failure.remedy)


def _ask_openssh(host: Host) -> Finding | None:
    """Log in once more with plain OpenSSH; what it says names the reason better than Ansible's account of it."""
    try:
        ssh.run(host.ssh, ["true"], timeout=_SECONDS)
    except HostConnectionError as error:
        return _described(host, error)
    return None


def _described(host: Host, error: HostConnectionError) -> Finding:
    remedy = _forget_key(host, error.details) or error.remedy
    own_words = f" ({error.details[-1]})" if error.details and error.message.endswith("SSH failed") else ""
    return Finding(host.name, CONNECTION, error.message + own_words, remedy)


def _forget_key(host: Host, lines: tuple[str, ...]) -> str:
    """Return the command that removes the host's old key from exactly the file that holds it."""
    for line in lines:
        if match := _OFFENDING.search(line):
            name = host.address if host.port == 22 else f"[{host.address}]:{host.port}"  # noqa: PLR2004 - ssh's own
            command = shlex.join(["ssh-keygen", "-f", match["file"], "-R", name])
            return f"if the host was reinstalled: {command}, then log in once; if not, ask who answers"
    return ""


def _first_line(message: str) -> str:
    return message.splitlines()[0].removeprefix("Task failed: ") if message else "no reason given"
