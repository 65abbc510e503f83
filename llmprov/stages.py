"""The stages of a host's way to Ready: their order, their fingerprints and the records they leave on the host.

Pure functions over values and role directories. Imported by Ansible's action plugin in every forked worker, so it must
stay light: the standard library and PyYAML only.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

RECORD_SCHEMA = 1
RECORD_DIRECTORY = "/var/lib/llmprov/stages"
# What a role does on the host, as opposed to how it is described or tested.
_ROLE_PARTS = ("defaults", "files", "handlers", "meta", "tasks", "templates", "vars")

# How a run is done, not what the host becomes. The bundle is known by digests, wherever it lies on the controller.
_ABOUT_THE_RUN = frozenset(
    {
        "cluster_bundle_dir",
        "control_plane_images_timeout",
        "control_plane_ready_timeout",
        "kubernetes_ready_timeout",
        "nvidia_driver_reboot",
        "nvidia_driver_reboot_timeout",
        "registry_content_timeout",
        "registry_push",
    }
)
# What lives in Kubernetes and changes no host.
_ABOUT_OBJECTS = ("cluster_autoscaling", "cluster_gateway", "cluster_monitoring")


class Runner(StrEnum):
    """Who brings a stage about."""

    ANSIBLE = "ansible"
    PYTHON = "python"


class Where(StrEnum):
    """The hosts that have a stage."""

    ALL = "all"
    FIRST_CONTROL_PLANE = "first control plane"
    CONTROL_PLANE = "control plane"
    WORKERS = "workers"
    GPU_WORKERS = "GPU workers"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of an installation. An Ansible stage is the role of the same name and a tag of playbooks/install.yml."""

    name: str
    summary: str
    where: Where
    runner: Runner = Runner.ANSIBLE


STAGES: tuple[Stage, ...] = (
    Stage("base", "kernel settings, swap, limits", Where.ALL),
    Stage("registry", "the cluster's registry and artifact server", Where.FIRST_CONTROL_PLANE),
    Stage("runtime", "containerd and runc", Where.ALL),
    Stage("packages", "operating-system packages from the bundle", Where.ALL),
    Stage("nvidia_driver", "NVIDIA driver, one version of everything", Where.GPU_WORKERS),
    Stage("nvidia_container_toolkit", "GPUs in containers, by CDI", Where.GPU_WORKERS),
    Stage("timesync", "clock synchronisation", Where.ALL),
    Stage("kubernetes", "kubelet, kubeadm and CNI plugins", Where.ALL),
    Stage("control_plane", "API servers and etcd", Where.CONTROL_PLANE),
    Stage("worker", "workers joined", Where.WORKERS),
    Stage("network", "pod network", Where.CLUSTER, Runner.PYTHON),
    Stage("gpu", "GPUs counted by the scheduler", Where.CLUSTER, Runner.PYTHON),
    Stage("gateway", "one TLS endpoint for all models", Where.CLUSTER, Runner.PYTHON),
    Stage("autoscaling", "KEDA", Where.CLUSTER, Runner.PYTHON),
    Stage("monitoring", "Prometheus, Alertmanager, dashboards", Where.CLUSTER, Runner.PYTHON),
    Stage("models", "engines and weights", Where.CLUSTER, Runner.PYTHON),
)


def stage_names(*, runner: Runner | None = None) -> tuple[str, ...]:
    """Return the names of all stages in order, or of those one runner brings about."""
    return tuple(stage.name for stage in STAGES if runner in (None, stage.runner))


def stages_until(last: str) -> tuple[Stage, ...]:
    """Return the stages up to and including one.

    Raises:
        KeyError: there is no stage of that name.
    """
    names = stage_names()
    if last not in names:
        raise KeyError(last)
    return STAGES[: names.index(last) + 1]


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What a finished stage leaves on its host."""

    stage: str
    fingerprint: str
    files: Mapping[str, str]
    finished: str
    schema: int = RECORD_SCHEMA

    @classmethod
    def from_json(cls, text: str) -> "StageRecord":
        """Read a record.

        Raises:
            ValueError: the text is no JSON object, lacks a field, or has an unknown schema.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("schema") != RECORD_SCHEMA:
            raise ValueError(f"not a stage record of schema {RECORD_SCHEMA}: {text[:60]!r}")
        missing = {"stage", "fingerprint", "files", "finished"} - data.keys()
        if missing:
            raise ValueError(f"stage record lacks {', '.join(sorted(missing))}")
        return cls(data["stage"], data["fingerprint"], dict(data["files"]), data["finished"])


def role_digest(role: Path) -> str:
    """Return the sha256 over every file of a role that bears on the host: names and contents, in a fixed order."""
    digest = hashlib.sha256()
    parts = (role / part for part in _ROLE_PARTS)
    for path in sorted(path for part in parts for path in part.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(role)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def role_variables(role: Path) -> tuple[str, ...]:
    """Return the names of the variables in a role's argument specification that bear on the host, sorted."""
    specification = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    names = set(specification["argument_specs"]["main"].get("options", {})) - _ABOUT_THE_RUN
    return tuple(sorted(name for name in names if not name.startswith(_ABOUT_OBJECTS)))


def fingerprint(roles: tuple[Path, ...], variables: Mapping[str, object], artifacts: Mapping[str, str]) -> str:
    """Return the fingerprint of a stage.

    Args:
        roles: directories of the stage's role and of those it depends on.
        variables: name and value of every variable in their argument specifications; values of JSON's types.
        artifacts: name and sha256 of every artifact the stage installs.
    """
    content = {
        "schema": RECORD_SCHEMA,
        "roles": {role.name: role_digest(role) for role in roles},
        "variables": dict(variables),
        "artifacts": dict(artifacts),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
