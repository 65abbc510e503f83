"""All rules: each takes facts and gives findings, and has no other effect."""

from collections.abc import Callable, Iterator

from llmprov.inventory import Host
from llmprov.preflight.context import Context
from llmprov.preflight.facts import HostFacts
from llmprov.preflight.findings import Finding
from llmprov.preflight.rules_cluster import check_clocks, check_identities
from llmprov.preflight.rules_gpu import check_gpus, check_model_gpus
from llmprov.preflight.rules_network import check_firewall, check_mtus, check_names, check_peers
from llmprov.preflight.rules_remains import check_ports, check_remains
from llmprov.preflight.rules_storage import check_disks
from llmprov.preflight.rules_system import (
    check_cgroups,
    check_kernel,
    check_memory,
    check_processors,
    check_swap,
    check_system,
)

HOST_RULES: tuple[Callable[[Host, HostFacts, Context], Iterator[Finding]], ...] = (
    check_system,
    check_kernel,
    check_cgroups,
    check_processors,
    check_memory,
    check_disks,
    check_swap,
    check_ports,
    check_remains,
    check_gpus,
    check_names,
    check_peers,
    check_firewall,
)
CLUSTER_RULES: tuple[Callable[[Context], Iterator[Finding]], ...] = (
    check_identities,
    check_clocks,
    check_mtus,
    check_model_gpus,
)


def judge(context: Context) -> tuple[Finding, ...]:
    """Apply every rule to every host that answered."""
    findings = [
        finding
        for host in context.inventory.hosts
        if (facts := context.facts.get(host.name)) is not None
        for rule in HOST_RULES
        for finding in rule(host, facts, context)
    ]
    findings += [finding for rule in CLUSTER_RULES for finding in rule(context)]
    return tuple(findings)
