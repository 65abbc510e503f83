"""Rules about what is on a host already: listeners and software of others."""

from collections.abc import Iterator

from llmprov.inventory import Host
from llmprov.preflight.context import Context, error
from llmprov.preflight.facts import HostFacts, Listener
from llmprov.preflight.findings import Finding

# Who listens where once a host is installed; the kernel cuts the names of processes to 15 characters.
_KUBELET = {10250: "kubelet"}
_CONTROL_PLANE = {2379: "etcd", 2380: "etcd", 10257: "kube-controller-manager", 10259: "kube-scheduler"}
_PROXY = {10256: "kube-proxy"}
_API_SERVER = "kube-apiserver"
_REGISTRY = "llmprov-registry"
_COMM_LENGTH = 15
_PACKAGED = "apt purge them (docker.io, containerd, kubelet, kubeadm …), remove the paths, reboot"


def expected_listeners(host: Host, context: Context) -> dict[int, str]:
    """Return the TCP ports that the host's parts will listen on, and the process of each."""
    settings = context.inventory.settings
    ports = _KUBELET | _PROXY
    if context.is_control_plane(host):
        ports |= _CONTROL_PLANE | {settings.api_port: _API_SERVER}
    if context.has_registry(host):
        ports |= {settings.registry_port: _REGISTRY, context.needs.push_port: _REGISTRY}
    return ports


def check_ports(host: Host, facts: HostFacts, context: Context) -> Iterator[Finding]:
    """Check that nobody else listens on a port that will be needed."""
    expected = expected_listeners(host, context)
    for listener in facts.listeners:
        wanted = expected.get(listener.port)
        if wanted is None or (facts.installed and listener.process == wanted[:_COMM_LENGTH]):
            continue
        yield error(
            host,
            "ports",
            f"port {listener.port} is taken by {_owner(listener)}; {wanted} needs it",
            f"stop that process: {_stop(listener)}",
        )


def check_remains(host: Host, facts: HostFacts, _context: Context) -> Iterator[Finding]:
    """Check for Kubernetes and container runtimes that llmprov did not put there."""
    if facts.installed:
        return
    remains = facts.remains
    if remains.processes:
        names = ", ".join(remains.processes)
        yield error(host, "remains", f"{names} of somebody else runs here", f"stop and remove it: {_PACKAGED}")
    if remains.paths:
        yield error(
            host,
            "remains",
            f"remains of another installation: {', '.join(remains.paths)}",
            f"if nothing needs them: {_PACKAGED}; llmprov overwrites nothing that it did not write",
        )


def _owner(listener: Listener) -> str:
    name = listener.process or "another process"
    details = [f"pid {listener.pid}"] if listener.pid else []
    details += [listener.unit] if listener.unit else []
    return f"{name} ({', '.join(details)})" if details else name


def _stop(listener: Listener) -> str:
    if listener.unit.endswith(".service"):
        return f"systemctl disable --now {listener.unit}"
    return f"kill {listener.pid}" if listener.pid else f"see `ss -ltnp sport = :{listener.port}`"
