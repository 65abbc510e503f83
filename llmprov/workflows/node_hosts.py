"""`llmprov node add`, `remove` and `replace`: hosts become nodes and bare hosts again; the inventory stays as it is."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from llmprov import ssh
from llmprov.cluster import etcd
from llmprov.cluster.client import Cluster
from llmprov.cluster.credentials import ControlPlane
from llmprov.cluster.evict import force_delete, pods_on
from llmprov.cluster.nodes import delete_node, node_states, wait_nodes_ready
from llmprov.cluster.objects import POD, Pod
from llmprov.errors import ClusterError, HostConnectionError, InstallError
from llmprov.inventory import Host, Inventory
from llmprov.node_states import Added, Drained, Removed, Replaced
from llmprov.progress import Progress
from llmprov.workflows import install, node_checks, reset
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.node_checks import Target, Votes
from llmprov.workflows.nodes import Options, drain_nodes
from llmprov.workflows.operating import operating

type Output = Callable[[str], None] | None
_ETCD = "component=etcd,tier=control-plane"
_READY_SECONDS = 300.0


def add(inventory: Inventory, names: Sequence[str], progress: Progress, *, on_output: Output = None) -> Added:
    """Install hosts of the inventory and wait until they are Ready nodes; nothing is done on other hosts.

    Raises:
        InventoryError: one of them is not in the inventory; nothing was changed.
        LlmprovError: as an install.
    """
    began = time.monotonic()
    hosts = tuple(host.name for host in node_checks.declared(inventory, names))
    # Who asks for a host wants to know what is wrong with it, not an install that goes on without it.
    request = install.Request(inventory=inventory.path, limit=",".join(hosts), max_failed=0)
    done = install.install(request, progress, on_output=on_output)
    if done.set_aside:
        lines = tuple(item.line for item in done.set_aside)
        raise InstallError(f"{len(lines)} hosts are no nodes yet", remedy=done.set_aside[0].remedy, details=lines)
    with open_cluster(inventory) as cluster:
        wait_nodes_ready(cluster, hosts, progress, seconds=_READY_SECONDS)
        _say_cordoned(cluster, hosts, progress)
    return Added(hosts, done.hosts.changed, time.monotonic() - began)


def remove(
    inventory: Inventory, names: Sequence[str], options: Options, progress: Progress, *, on_output: Output = None
) -> tuple[Removed, ...]:
    """Drain hosts, reset them, and take them out of the cluster; or only the last, where a host is dead.

    Args:
        inventory: names the cluster; it is not changed.
        names: of the hosts.
        options: how they are drained; `force` says that they are dead.
        progress: shows pods and tasks.
        on_output: gets Ansible's own output.

    Raises:
        InventoryError: neither the inventory nor the cluster knows one.
        ClusterError: the cluster cannot do without one, or `force` was given for a host that is alive.
        HostConnectionError: a host does not answer, and `force` was not given.
    """
    with open_cluster(inventory) as cluster:
        targets = _checked(cluster, inventory, names, force=options.force)
        return tuple(
            _remove(cluster, inventory, target, options=options, progress=progress, on_output=on_output)
            for target in targets
        )


def replace(
    inventory: Inventory, old: str, new: str, options: Options, progress: Progress, *, on_output: Output = None
) -> Replaced:
    """Add one host, then remove another; whether that may go is checked first.

    Raises:
        LlmprovError: as `add` and `remove`.
    """
    if old == new:
        raise ClusterError(f"{old} cannot replace itself", remedy="name the host that goes, then the one that comes")
    node_checks.declared(inventory, [new])
    with open_cluster(inventory) as cluster:
        _checked(cluster, inventory, [old], force=options.force)
    added = add(inventory, [new], progress, on_output=on_output)
    (removed,) = remove(inventory, [old], options, progress, on_output=on_output)
    return Replaced(added, removed)


def _checked(cluster: Cluster, inventory: Inventory, names: Sequence[str], *, force: bool) -> tuple[Target, ...]:
    nodes = node_states(cluster)
    targets = node_checks.find_targets(inventory, nodes, names)
    node_checks.check_planes(targets, inventory.settings.first_control_plane, nodes)
    for target in targets:
        _check_alive(target, force=force)
    if any(target.control_plane for target in targets):
        node_checks.check_votes(targets, _votes(cluster, inventory, [target.name for target in targets]))
    return targets


def _check_alive(target: Target, *, force: bool) -> None:
    """Refuse to force what is alive, and to ask what is dead."""
    if target.host is None or force:
        if target.node is not None and target.node.ready:
            raise _alive(target, "its node is Ready")
        if target.host is not None and _answers(target.host):
            raise _alive(target, "it answers over SSH")
        return
    try:
        ssh.run(target.host.ssh, ["true"], timeout=30)
    except HostConnectionError as error:
        raise HostConnectionError(
            f"{error.message}; nothing was changed",
            remedy=f"bring it back; when it is dead: llmprov node remove {target.name} --force",
            details=error.details,
        ) from error


def _alive(target: Target, sign: str) -> ClusterError:
    remedy = f"put {target.name} into the inventory, so that it can be reset, or power it off first"
    if target.host is not None:
        remedy = (
            f"llmprov node remove {target.name}, without --force; "
            "the node of a host that died just now is not Ready within a minute"
        )
    return ClusterError(f"{target.name} is alive: {sign}; nothing was changed", remedy=remedy)


def _answers(host: Host) -> bool:
    try:
        ssh.run(host.ssh, ["true"], timeout=30)
    except HostConnectionError:
        return False
    return True


def _remove(
    cluster: Cluster,
    inventory: Inventory,
    target: Target,
    *,
    options: Options,
    progress: Progress,
    on_output: Output,
) -> Removed:
    began = time.monotonic()
    dead = options.force or target.host is None
    drained = None
    if not dead:
        with operating(inventory, "node remove", progress) as check:
            drained = _drained(cluster, target, options, progress, check)
        reset.reset(inventory, progress, limit=target.name, on_output=on_output)  # an operator of its own
    with operating(inventory, "node remove", progress), progress.step("leave the cluster", target.name):
        member = target.control_plane and _leave_etcd(inventory, target.name)
        delete_node(cluster, target.name)
        # Without a node nobody says that they have stopped.
        pods = pods_on(cluster, target.name)
        for pod in pods:
            force_delete(cluster, pod)
    return Removed(
        host=target.name,
        forced=dead,
        drained=drained,
        pods=tuple(f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods),
        member=member,
        reset=not dead,
        declared=target.host is not None,
        seconds=time.monotonic() - began,
    )


def _drained(
    cluster: Cluster, target: Target, options: Options, progress: Progress, check: Callable[[], None]
) -> Drained | None:
    if target.node is None:
        return None
    if not target.node.ready:
        progress.note(f"{target.name} is not Ready: its pods cannot be asked to stop, and end with the reset")
        return None
    (drained,) = drain_nodes(cluster, [target.name], options, progress, check=check)
    return drained


def _leave_etcd(inventory: Inventory, name: str) -> bool:
    """See to it that a host is no member of etcd, which its own reset may have done; False when it never was."""
    host = next((host for host in inventory.control_plane if host.name == name), None)
    with _other_etcd(inventory, [name]) as other:
        left = [member for member in other.members() if member.name == name]
        for member in left:
            other.remove(member)
    return bool(left) or host is not None


def _votes(cluster: Cluster, inventory: Inventory, without: Sequence[str]) -> Votes:
    with _other_etcd(inventory, without) as other:
        members = frozenset(member.name for member in other.members())
    pods = map(Pod.model_validate, cluster.list(POD, "kube-system", selector=_ETCD).items)
    return Votes(members, members & {pod.spec.node_name for pod in pods if pod.ready})


@contextmanager
def _other_etcd(inventory: Inventory, without: Sequence[str]) -> Iterator[etcd.Etcd]:
    """Open etcd on the first control plane that answers and stays."""
    first = inventory.settings.first_control_plane
    hosts = sorted(inventory.control_plane, key=lambda host: host.name != first)
    staying = [host for host in hosts if host.name not in without]
    chosen = next((host for host in staying if _answers(host)), None)
    if chosen is None:
        raise HostConnectionError(
            f"none of {', '.join(host.name for host in staying)} answers, so etcd cannot be asked; nothing was changed",
            remedy="bring one of them back first",
        )
    with etcd.connect(ControlPlane(chosen.name, chosen.ssh, chosen.sudo_password)) as opened:
        yield opened


def _say_cordoned(cluster: Cluster, hosts: Sequence[str], progress: Progress) -> None:
    for node in node_states(cluster):
        if node.name in hosts and not node.schedulable:
            progress.note(f"{node.name} is cordoned and takes no pods: llmprov node uncordon {node.name}")
