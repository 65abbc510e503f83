"""Rules about one host's operating system, kernel and processors."""

import re
from collections.abc import Collection, Iterator, Mapping

from llmprov.inventory import Host
from llmprov.preflight import needs
from llmprov.preflight.context import Context, error, gib, warning
from llmprov.preflight.facts import HostFacts
from llmprov.preflight.findings import Finding

_KEEP_SWAP = (
    "if the host may keep it, set `base_swap_off: false` and `kubernetes_kubelet_configuration: {failSwapOn: false}`"
)
_SERVICEABLE = frozenset({"running", "degraded", "starting", "initializing"})


def check_system(host: Host, facts: HostFacts, context: Context) -> Iterator[Finding]:
    """Check operating system, architecture, Python and systemd."""
    system = facts.os
    if (system.id, system.version) not in needs.SUPPORTED_SYSTEMS:
        supported = ", ".join(f"{name} {version}" for name, version in needs.SUPPORTED_SYSTEMS)
        seen = f"{system.name or 'an unnamed system'} ({system.id} {system.version})"
        yield error(host, "os", f"runs {seen}, which is not supported", f"install one of: {supported}")
    else:
        yield from _check_packages(host, needs.SUPPORTED_SYSTEMS[system.id, system.version], context.needs.suites)
    if system.arch not in needs.ARCHITECTURES:
        yield error(host, "os", f"is {system.arch}; there are artifacts for x86_64 only", "use an x86_64 machine")
    if _version(facts.python) < needs.OLDEST_PYTHON:
        oldest = ".".join(map(str, needs.OLDEST_PYTHON))
        yield error(host, "python", f"has Python {facts.python}", f"install Python {oldest} or later")
    if facts.identity.init != "systemd":
        seen = facts.identity.init or "unknown"
        yield error(host, "systemd", f"process 1 is {seen}, not systemd", "boot the host with systemd as init")
    elif facts.system_state not in _SERVICEABLE:
        state = facts.system_state or "does not answer"
        yield error(host, "systemd", f"systemd says: {state}", "look at `systemctl status` and reboot the host")


def _check_packages(host: Host, suite: str, suites: Collection[str] | None) -> Iterator[Finding]:
    if suites is None or suite in suites or host.variables.get("packages_install", True) is False:
        return
    releases = sorted(set(suites) & set(needs.SUPPORTED_SYSTEMS.values()))
    yield error(
        host,
        "os",
        f"runs {suite}; the bundle has packages for {', '.join(releases) or 'no release'}",
        "install the packages named in docs/roles.md yourself and set `packages_install: false` for this host",
    )


def check_kernel(host: Host, facts: HostFacts, context: Context) -> Iterator[Finding]:
    """Check the kernel's version and features."""
    if _version(facts.os.kernel) < needs.OLDEST_KERNEL:
        oldest = ".".join(map(str, needs.OLDEST_KERNEL))
        yield error(host, "kernel", f"runs kernel {facts.os.kernel}", f"install kernel {oldest} or later and reboot")
    wanted = [*needs.FEATURES]
    if context.inventory.settings.network_backend == "vxlan":
        wanted.append("vxlan")
    missing = [name for name in wanted if facts.features.get(name, "missing") == "missing"]
    if missing:
        yield error(
            host,
            "kernel",
            f"the kernel {facts.os.kernel} has no {', '.join(missing)}",
            "install the distribution's full kernel (linux-image-amd64, linux-image-generic) and reboot",
        )


def check_cgroups(host: Host, facts: HostFacts, _context: Context) -> Iterator[Finding]:
    """Check version and controllers of control groups."""
    if facts.cgroups.version == 1 and not _consents_to_cgroup_v1(host):
        yield error(
            host,
            "cgroups",
            "uses cgroup v1, which Kubernetes no longer supports by default",
            "boot with systemd.unified_cgroup_hierarchy=1; or, if it has to be, set "
            "`kubernetes_kubelet_configuration: {failCgroupV1: false}` for this host",
        )
    missing = needs.CONTROLLERS - facts.cgroups.controllers
    if missing:
        remedy = "boot with cgroup_enable=memory and without cgroup_disable, then look at /proc/cgroups"
        yield error(host, "cgroups", f"lacks the cgroup controllers {', '.join(sorted(missing))}", remedy)


def check_processors(host: Host, facts: HostFacts, context: Context) -> Iterator[Finding]:
    """Check the number of cores."""
    control_plane = context.is_control_plane(host)
    least = needs.CONTROL_PLANE_CORES if control_plane else needs.WORKER_CORES
    if facts.cores < least and "NumCPU" not in _ignored_by_kubeadm(host, control_plane=control_plane):
        yield error(host, "cores", f"has {facts.cores} core(s), needs {least}", "give it more cores")


def check_memory(host: Host, facts: HostFacts, context: Context) -> Iterator[Finding]:
    """Check the size of memory, also against what one replica of each model asks for."""
    control_plane = context.is_control_plane(host)
    least = needs.CONTROL_PLANE_MEMORY if control_plane else needs.WORKER_MEMORY
    total = facts.memory.total
    if total < least and "Mem" not in _ignored_by_kubeadm(host, control_plane=control_plane):
        yield error(
            host,
            "memory",
            f"has {total / needs.MIB:.0f} MiB of memory, needs {least / needs.MIB:.0f} MiB",
            "add memory",
        )
    if not context.is_worker(host):
        return
    for model in context.inventory.models:
        wanted = quantity(model.resources.memory or "0")
        if wanted > total:
            yield warning(
                host,
                "memory",
                f"has {gib(total)} of memory; a replica of {model.name} asks for {model.resources.memory}",
                "no replica of it will run here: lower resources.memory of the model, or add memory",
            )


def check_swap(host: Host, facts: HostFacts, _context: Context) -> Iterator[Finding]:
    """Check that swap is off, or that the installation can turn it off."""
    if not facts.memory.swaps or host.variables.get("base_swap_off", True) is False:
        return
    memory = facts.memory
    names = ", ".join(swap.name for swap in memory.swaps)
    used = sum(swap.used for swap in memory.swaps)
    if foreign := [swap.name for swap in memory.swaps if not swap.visible]:
        problem = f"swap {', '.join(foreign)} cannot be turned off: it belongs to the machine that holds this container"
        yield error(host, "swap", problem, f"turn it off on that machine: swapoff -a; {_KEEP_SWAP}")
    elif not memory.may_swapoff:
        problem = f"swap {names} cannot be turned off: root lacks CAP_SYS_ADMIN here"
        yield error(host, "swap", problem, f"turn it off from outside; {_KEEP_SWAP}")
    elif used > memory.available:
        problem = (
            f"swap {names} cannot be turned off: it holds {gib(used)}, and {gib(memory.available)} of memory are free"
        )
        yield error(host, "swap", problem, "stop what uses the memory, or reboot the host")
    else:
        yield warning(host, "swap", f"swap {names} is on", "nothing to do: the installation turns it off for good")


def quantity(text: str) -> int:
    """Return a Kubernetes quantity of bytes as a number."""
    match = re.fullmatch(r"([0-9.]+)(Ki|Mi|Gi|Ti|k|M|G|T)?", text)
    if not match:
        raise ValueError(text)
    powers = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    return int(float(match[1]) * powers.get(match[2] or "", 1))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _consents_to_cgroup_v1(host: Host) -> bool:
    configuration = host.variables.get("kubernetes_kubelet_configuration")
    return isinstance(configuration, Mapping) and configuration.get("failCgroupV1") is False


def _ignored_by_kubeadm(host: Host, *, control_plane: bool) -> frozenset[str]:
    """What the inventory tells kubeadm to overlook, preflight overlooks too."""
    name = "control_plane_node_registration" if control_plane else "worker_node_registration"
    registration = host.variables.get(name)
    ignored = registration.get("ignorePreflightErrors") if isinstance(registration, Mapping) else None
    return frozenset(map(str, ignored)) if isinstance(ignored, list) else frozenset()
