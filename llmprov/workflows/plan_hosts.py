"""What each stage of each host needs: the records that a probe found against what inventory and bundle ask for."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache

from llmprov import paths
from llmprov.bundle.lock import FILES_REF, BundleLock
from llmprov.bundle.oci import read_index
from llmprov.errors import InstallError
from llmprov.host_state import HostProbe
from llmprov.inventory import Host, Inventory
from llmprov.plans import Drift, StagePlan, Verdict, worst
from llmprov.stages import (
    RECORD_SCHEMA,
    Runner,
    Stage,
    StageRecord,
    Where,
    role_closure,
    role_digest,
    role_variables,
    stage_artifacts,
    stage_inputs,
)

_KUBELET = "kubelet.service"
LATER = "only hosts that join from now on take this up"
"""kubeadm writes a member's configuration once, when it joins."""
_MEMBERS = {"worker": "joined", "control_plane": "control_plane"}


def plan_hosts(
    inventory: Inventory, lock: BundleLock, probes: Sequence[HostProbe], stages: Iterable[Stage]
) -> tuple[StagePlan, ...]:
    """Compare every probed host's stages with what they should be; hosts in inventory order, stage by stage.

    Args:
        inventory: with the resolver it was loaded with.
        lock: of the bundle that hosts are installed from.
        probes: of the hosts that answered; those that did not are unreachable in every stage.
        stages: those of Ansible among them are compared.

    Raises:
        InstallError: a newer llmprov has worked on a host.
        InventoryError: a variable cannot be resolved.
    """
    by_host = {probe.host: probe for probe in probes}
    refuse_newer(probes)
    wanted = _Wanted(inventory, lock)
    plans: list[StagePlan] = []
    for stage in stages:
        if stage.runner is not Runner.ANSIBLE:
            continue
        for host in hosts_of(stage, inventory):
            probe = by_host.get(host.name)
            if probe is None:
                plans.append(StagePlan(host.name, stage.name, Verdict.UNREACHABLE))
            else:
                plans.append(compare(stage, probe, wanted.inputs(stage, probe)))
    return tuple(plans)


def hosts_of(stage: Stage, inventory: Inventory) -> tuple[Host, ...]:
    """Return the hosts that have a stage, control planes first."""
    match stage.where:
        case Where.ALL:
            return inventory.hosts
        case Where.FIRST_CONTROL_PLANE:
            return (inventory.first_control_plane,)
        case Where.CONTROL_PLANE:
            return inventory.control_plane
        case Where.WORKERS:
            return inventory.workers
        case Where.GPU_WORKERS:
            return inventory.gpu_workers
        case _:
            return ()


def compare(stage: Stage, probe: HostProbe, wanted: Mapping[str, str]) -> StagePlan:
    """Compare one stage's record, and what the host looks like now, with the inputs the stage has today.

    Args:
        stage: of Ansible's.
        probe: of the host.
        wanted: digest of each input, by name.
    """
    record = probe.records.get(stage.name)
    if record is None:
        why = probe.damaged.get(stage.name)
        reasons = (f"its record cannot be read: {why}",) if why else ("it never finished here",)
        return StagePlan(probe.host, stage.name, Verdict.MISSING, reasons)
    changed = _changed(record, wanted)
    if changed and record.schema == RECORD_SCHEMA and stage.name in _MEMBERS and getattr(probe, _MEMBERS[stage.name]):
        changed = (*changed, LATER)
    drifts = _drifts(record, probe)
    unhealthy = _unhealthy(stage, record, probe)
    verdict = worst(
        (
            *([Verdict.CHANGED] if changed else ()),
            *([Verdict.UNHEALTHY] if unhealthy else ()),
            *([Verdict.DRIFTED] if drifts else ()),
        )
    )
    return StagePlan(probe.host, stage.name, verdict, (*changed, *unhealthy), drifts)


def missing_content(
    inventory: Inventory, lock: BundleLock, probes: Sequence[HostProbe], images: Collection[str]
) -> tuple[str, ...]:
    """Return the references that the cluster's registry should have and lacks: the files' first, then the images'.

    Args:
        inventory: names the host of the registry; nothing is known of it when that was not probed.
        lock: of the bundle.
        probes: of the hosts.
        images: names of the bundle's images that this installation uses.
    """
    first = inventory.settings.first_control_plane
    probe = next((probe for probe in probes if probe.host == first), None)
    if probe is None:
        return ()
    manifests = {item.ref: item.digest for item in read_index(inventory.settings.bundle_dir).manifests}
    known = {image.name: image.ref or "" for image in lock.images}  # who needs one that is not there says so
    wanted = [FILES_REF, *(known[name] for name in images if name in known)]
    return tuple(ref for ref in dict.fromkeys(wanted) if ref in manifests and probe.images.get(ref) != manifests[ref])


def refuse_newer(probes: Iterable[HostProbe]) -> None:
    """Refuse to work on hosts that a newer llmprov has worked on.

    Raises:
        InstallError: each such host and record is named.
    """
    found = [(probe.host, stage, schema) for probe in probes for stage, schema in probe.newer.items()]
    if found:
        raise InstallError(
            f"a newer llmprov has worked on {', '.join(dict.fromkeys(host for host, _, _ in found))}",
            remedy="use that version or a newer one; to go back to this one, remove the named records: "
            "their stages are then run again",
            details=tuple(
                f"{host}: /var/lib/llmprov/stages/{stage}.json has schema {schema}, this llmprov knows up to "
                f"{RECORD_SCHEMA}"
                for host, stage, schema in found
            ),
        )


class _Wanted:
    """The inputs of stages: roles are hashed once, variables resolved once a host."""

    def __init__(self, inventory: Inventory, lock: BundleLock) -> None:
        self._inventory = inventory
        self._artifacts = [artifact.model_dump() for artifact in lock.artifacts]
        self._roles = paths.content_root() / "roles"
        self.of_roles = cache(self._of_roles)
        self.of_artifacts = cache(self._of_artifacts)
        self._values: dict[str, Mapping[str, object]] = {}

    def inputs(self, stage: Stage, probe: HostProbe) -> dict[str, str]:
        """Return the digest of each input of a stage on a host, by name."""
        if probe.host not in self._values:
            self._values[probe.host] = self._inventory.ansible.role_values(probe.host, probe.facts)
        values = self._values[probe.host]
        digests, names = self.of_roles(stage)
        variables = {name: values[name] for name in names if name in values}
        return {**digests, **stage_inputs((), variables, self.of_artifacts(stage, _codename(probe)))}

    def _of_roles(self, stage: Stage) -> tuple[Mapping[str, str], tuple[str, ...]]:
        roles = role_closure(self._roles, stage.name)
        names = sorted({name for role in roles for name in role_variables(role)})
        return {f"role {role.name}": role_digest(role) for role in roles}, tuple(names)

    def _of_artifacts(self, stage: Stage, codename: str) -> Mapping[str, str]:
        return stage_artifacts(stage, self._artifacts, codename)


def _codename(probe: HostProbe) -> str:
    system = probe.facts.get("os")
    return str(system.get("codename", "")) if isinstance(system, Mapping) else ""


def _changed(record: StageRecord, wanted: Mapping[str, str]) -> tuple[str, ...]:
    if record.schema != RECORD_SCHEMA:
        return ("an older llmprov finished it",)
    names = sorted({*wanted, *record.inputs})
    return tuple(name for name in names if wanted.get(name) != record.inputs.get(name))


def _drifts(record: StageRecord, probe: HostProbe) -> tuple[Drift, ...]:
    found = []
    for path, sha256 in sorted(record.files.items()):
        now = probe.files.get(path)
        if now is not None and now.sha256 != sha256:
            found.append(Drift(path, now.difference, removed=now.sha256 is None))
    return tuple(found)


def _unhealthy(stage: Stage, record: StageRecord, probe: HostProbe) -> tuple[str, ...]:
    units = [
        f"unit {name} is {unit.trouble}"
        for name, unit in probe.units.items()
        if name in record.units and unit.trouble and (name != _KUBELET or probe.joined)
    ]
    packages = [
        f"package {name} is {f'of version {now}' if now else 'not installed'}, not {version}"
        for name, version in record.packages.items()
        if (now := probe.packages.get(name)) != version
    ]
    member = _MEMBERS.get(stage.name)
    left = ["the host is no member of a cluster any more"] if member and not getattr(probe, member) else []
    return (*units, *packages, *left)
