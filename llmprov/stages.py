"""The stages of a host's way to Ready: their order, their fingerprints and the records they leave on the host.

Pure functions over values and role directories. Imported by Ansible's action plugin in every forked worker, so it must
stay light: the standard library and PyYAML only.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

RECORD_SCHEMA = 2
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's safe loader where PyYAML was built with it: many times as fast."""
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
_ABOUT_OBJECTS = ("cluster_gateway", "cluster_monitoring")


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
    """One step of an installation. An Ansible stage is the role of the same name and a tag of playbooks/install.yml.

    Attributes:
        where: the hosts that have it.
        runner: who brings it about.
        files: names of the bundle's files that it installs.
        images: names of the bundle's images that the host's own configuration names.
        packages: suite of the bundle's packages that it installs; `{codename}` is the host's release.
        all_files: whether it serves every file and package of the bundle.
        registries: whether it names every registry that the bundle's images come from.
    """

    name: str
    summary: str
    where: Where
    runner: Runner = Runner.ANSIBLE
    files: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    packages: str = ""
    all_files: bool = False
    registries: bool = False


STAGES: tuple[Stage, ...] = (
    Stage("base", "kernel settings, swap, limits", Where.ALL),
    Stage(
        "registry",
        "the cluster's registry and artifact server",
        Where.FIRST_CONTROL_PLANE,
        files=("registry",),
        all_files=True,
    ),
    Stage(
        "runtime",
        "containerd, runc and crictl",
        Where.ALL,
        files=("containerd", "crictl", "runc"),
        images=("pause",),
        registries=True,
    ),
    Stage("packages", "operating-system packages from the bundle", Where.ALL, packages="{codename}"),
    Stage("nvidia_driver", "NVIDIA driver, one version of everything", Where.GPU_WORKERS, packages="{codename}-nvidia"),
    Stage("nvidia_container_toolkit", "GPUs in containers, by CDI", Where.GPU_WORKERS, files=("nvidia-ctk",)),
    Stage("timesync", "clock synchronisation", Where.ALL, packages="{codename}-timesync"),
    Stage(
        "kubernetes",
        "kubelet, kubeadm and CNI plugins",
        Where.ALL,
        files=("kubelet", "kubeadm", "kubectl", "cni-plugins"),
    ),
    Stage("control_plane", "API servers and etcd", Where.CONTROL_PLANE, images=("kube-apiserver", "etcd", "coredns")),
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


class NewerRecordError(ValueError):
    """A record that a newer llmprov wrote; `schema` is its version."""

    def __init__(self, schema: int) -> None:
        super().__init__(f"a record of schema {schema}; this llmprov reads up to {RECORD_SCHEMA}")
        self.schema = schema


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What a finished stage leaves on its host.

    Attributes:
        inputs: digest of all that bears on the stage, by name: `role base`, `variable base_limits`, `artifact runc`.
        fingerprint: over all inputs.
        files: sha256 of every file that the stage manages, by path.
        units: systemd units that must run.
        packages: version of every operating-system package that the stage installed.
        finished: UTC, ISO 8601.
    """

    stage: str
    fingerprint: str
    files: Mapping[str, str]
    finished: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    units: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    schema: int = RECORD_SCHEMA

    @classmethod
    def from_data(cls, data: object) -> "StageRecord":
        """Read a record from JSON's values; one of an older schema has no inputs.

        Raises:
            NewerRecordError: a newer llmprov wrote it.
            ValueError: it is no record.
        """
        if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
            raise ValueError(f"not a stage record: {str(data)[:60]!r}")  # noqa: TRY004 - one kind for all of these
        if data["schema"] > RECORD_SCHEMA:
            raise NewerRecordError(data["schema"])
        missing = {"stage", "fingerprint", "files", "finished"} - data.keys()
        if missing:
            raise ValueError(f"stage record lacks {', '.join(sorted(missing))}")
        for key, kind in (("files", dict), ("inputs", dict), ("packages", dict), ("units", list)):
            if not isinstance(data.get(key, kind()), kind):
                raise ValueError(f"stage record has {key} of the wrong form")  # noqa: TRY004
        return cls(
            stage=str(data["stage"]),
            fingerprint=str(data["fingerprint"]),
            files=dict(data["files"]),
            finished=str(data["finished"]),
            inputs=dict(data.get("inputs", {})),
            units=tuple(data.get("units", ())),
            packages=dict(data.get("packages", {})),
            schema=data["schema"],
        )


def find_stage(name: str) -> Stage:
    """Return the stage of that name; `KeyError` if there is none."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise KeyError(name)


def stage_artifacts(stage: Stage, artifacts: Iterable[Mapping[str, Any]], codename: str) -> dict[str, str]:
    """Return name and sha256 of everything of a bundle that a stage puts on a host.

    Args:
        stage: any.
        artifacts: of the bundle, as its lock file lists them.
        codename: of the host's release: `trixie`.
    """
    suite = stage.packages.format(codename=codename)
    wanted: dict[str, str] = {}
    registries: set[str] = set()
    content = hashlib.sha256()
    for item in sorted(artifacts, key=lambda item: (item["kind"], item.get("suite") or "", item["name"])):
        kind, name = item["kind"], item["name"]
        named = (kind == "file" and name in stage.files) or (kind == "image" and name in stage.images)
        if named or (kind == "deb" and suite and item.get("suite") == suite):
            wanted[name] = item["sha256"]
        if kind == "image":
            registries.add(item["ref"].partition("/")[0])
        elif not item.get("controller"):
            content.update(f"{kind} {item.get('suite')} {name} {item['sha256']}\n".encode())
    if stage.all_files:
        wanted["all files"] = content.hexdigest()
    if stage.registries:
        wanted["registries"] = _digest(sorted(registries))
    return wanted


def role_closure(roles: Path, name: str) -> tuple[Path, ...]:
    """Return the directories of a role and of the roles it depends on, itself first."""
    found: dict[str, Path] = {}
    queue = [name]
    while queue:
        role = queue.pop(0)
        if role in found:
            continue
        found[role] = roles / role
        meta = _yaml(roles / role / "meta" / "main.yml")
        queue += [item["role"] for item in meta.get("dependencies") or ()]
    return tuple(found.values())


def role_digest(role: Path) -> str:
    """Return the sha256 over every file of a role that bears on the host: names and contents, in a fixed order."""
    digest = hashlib.sha256()
    parts = (role / part for part in _ROLE_PARTS)
    for path in sorted(path for part in parts for path in part.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(role)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def role_variables(role: Path) -> tuple[str, ...]:
    """Return the names of the variables in a role's argument specification that bear on the host, sorted."""
    specification = _yaml(role / "meta" / "argument_specs.yml")
    names = set(specification["argument_specs"]["main"].get("options", {})) - _ABOUT_THE_RUN
    return tuple(sorted(name for name in names if not name.startswith(_ABOUT_OBJECTS)))


def stage_inputs(
    roles: Iterable[Path], variables: Mapping[str, object], artifacts: Mapping[str, str]
) -> dict[str, str]:
    """Return the digest of everything that bears on a stage, by name.

    Args:
        roles: directories of the stage's role and of those it depends on.
        variables: name and value of every variable in their argument specifications; values of JSON's types.
        artifacts: name and sha256 of every artifact the stage installs.
    """
    inputs = {f"role {role.name}": role_digest(role) for role in roles}
    inputs |= {f"variable {name}": _value_digest(name, value) for name, value in variables.items()}
    return inputs | {f"artifact {name}": sha256 for name, sha256 in artifacts.items()}


def fingerprint(inputs: Mapping[str, str]) -> str:
    """Return the fingerprint of a stage: one digest over all its inputs."""
    return _digest({"schema": RECORD_SCHEMA, "inputs": dict(inputs)})


def _yaml(path: Path) -> Any:  # noqa: ANN401 - YAML
    return _parsed(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _parsed(path: Path, modified_ns: int) -> Any:  # noqa: ANN401, ARG001 - YAML; a key
    return yaml.load(path.read_text(encoding="utf-8"), Loader=YAML_LOADER)  # noqa: S506 - libyaml's safe loader


def _value_digest(name: str, value: object) -> str:
    return _digest([name, value])


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
