"""An installed cluster as the tests of faults see it: what is planned for it, and how its hosts really look."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmprov.inventory import load as load_inventory
from tests.lab.conftest import KUBECTL, Lab, Outcome

type Stages = Mapping[tuple[str, str], str]
"""Verdict by host and stage."""
type Looks = Mapping[str, Mapping[str, object]]
"""How hosts look, by name."""

# Looks for itself instead of asking the product's probe. When a stage finished is left out: it differs each time.
LOOK = r"""
import glob, hashlib, json, os, subprocess

def file(path, sha256):
    try:
        with open(path, "rb") as stream:
            same = hashlib.sha256(stream.read()).hexdigest() == sha256
        found = os.lstat(path)
    except OSError:
        return None
    return [same, oct(found.st_mode), found.st_uid, found.st_gid]

def unit(name):
    shown = subprocess.run(
        ["systemctl", "show", "--property", "LoadState,ActiveState,UnitFileState", name], stdout=subprocess.PIPE
    )
    return sorted(shown.stdout.decode().split())

records, files, units = {}, {}, {}
for path in glob.glob("/var/lib/llmprov/stages/*.json"):
    with open(path) as stream:
        record = json.load(stream)
    files.update({path: file(path, sha256) for path, sha256 in record["files"].items()})
    units.update({name: unit(name) for name in record.get("units", ())})
    compared = ("schema", "fingerprint", "inputs", "units", "packages")
    records[record["stage"]] = {key: record.get(key) for key in compared}
around = sorted(
    os.path.join(directory, name)
    for top in ("/etc", "/usr/local", "/opt")
    for directory, _, names in os.walk(top)
    for name in names
)
print(json.dumps({"records": records, "files": files, "units": units, "around": around}))
"""


@dataclass(frozen=True)
class Planned:
    """What `llmprov plan` says.

    Attributes:
        stages: those that are not in sync.
        reasons: of each of these, as one text: what changed, what is wrong with it, which file was touched.
        rest: what else is to be done: pushes, objects, workloads that do not work.
    """

    stages: Stages
    reasons: Mapping[tuple[str, str], str]
    rest: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done."""
        return not self.stages and not self.rest


def plan(lab: Lab, inventory: Path | None = None) -> Planned:
    """Ask what is to be done; exit code and document must agree about whether there is anything."""
    done = lab.llmprov("plan", "-i", str(inventory or lab.inventory), "--json", "--detailed-exitcode", check=False)
    assert done.exit_code in {0, 2}, done.stderr
    found = read_plan(done.json)
    assert found.empty is (done.exit_code == 0)
    return found


def read_plan(document: Mapping[str, Any]) -> Planned:
    """Read what `llmprov plan --json` prints."""
    parts = [item for part in ("push", "objects", "troubles") for item in document[part]]
    unknown = [document["objects_unknown"]] if document["objects_unknown"] else []
    open_stages = [item for item in document["hosts"] if item["verdict"] != "in sync"]
    found = Planned(
        stages={(item["host"], item["stage"]): item["verdict"] for item in open_stages},
        reasons={
            (item["host"], item["stage"]): ", ".join([*item["reasons"], *(file["path"] for file in item["files"])])
            for item in open_stages
        },
        rest=tuple(json.dumps(item) for item in [*parts, *unknown]),
    )
    assert found.empty is document["empty"]
    return found


def install(lab: Lab, *arguments: str, inventory: Path | None = None, codes: tuple[int, ...] = (0,)) -> Outcome:
    """Install, and hold it to its exit codes."""
    done = lab.llmprov("install", "-i", str(inventory or lab.inventory), *arguments, check=False, timeout=1800)
    assert done.exit_code in codes, f"exit code {done.exit_code}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def hosts(lab: Lab) -> tuple[str, ...]:
    """Return the names of all hosts, control planes first."""
    return tuple(host.name for host in load_inventory(lab.inventory).hosts)


def looks(lab: Lab) -> Looks:
    """Return how every host looks: records, the files and units that they name, and where else files lie."""
    return {host: json.loads(lab.ssh(host, f"sudo python3 -c {shlex.quote(LOOK)}")) for host in hosts(lab)}


def differences(before: Looks, after: Looks) -> list[str]:
    """Return where two looks differ, one line each; a test's message shows these and not two whole hosts."""
    found: list[str] = []
    for host in sorted({*before, *after}):
        for part in ("records", "files", "units", "around"):
            one, other = (_entries(look.get(host, {}).get(part)) for look in (before, after))
            found += [
                f"{host} {part} {name}: {one.get(name, 'not there')} became {other.get(name, 'not there')}"
                for name in sorted({*one, *other})
                if one.get(name) != other.get(name)
            ]
    return found


def objects(lab: Lab, what: str) -> list[dict[str, Any]]:
    """Return what `kubectl get` lists; nothing while the API server does not answer."""
    printed = lab.ssh("cp1", f"{KUBECTL} get {what} -o json", check=False)
    items: list[dict[str, Any]] = json.loads(printed)["items"] if printed else []
    return items


def nodes_in_use(lab: Lab) -> frozenset[str]:
    """Return the names of the nodes that are Ready and let pods in; taints of control planes do not count."""
    return frozenset(
        node["metadata"]["name"]
        for node in objects(lab, "nodes")
        if is_ready(node)
        and not [
            taint for taint in node["spec"].get("taints", ()) if taint["key"] != "node-role.kubernetes.io/control-plane"
        ]
    )


def model_nodes(lab: Lab) -> Mapping[str, frozenset[str]]:
    """Return the nodes on which each model has a replica that is ready."""
    names = [model["name"] for model in lab.llmprov("model", "list", "-i", str(lab.inventory), "--json").json]
    return {
        name: frozenset(
            pod["spec"]["nodeName"]
            for pod in objects(lab, f"pods -n llmprov-models -l llmprov.io/model={name}")
            if is_ready(pod)
        )
        for name in names
    }


def is_ready(item: Mapping[str, Any]) -> bool:
    """Whether a node or a pod says that it is Ready."""
    conditions = item["status"].get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _entries(part: object) -> Mapping[str, object]:
    if isinstance(part, Mapping):
        return {str(name): value for name, value in part.items()}
    return dict.fromkeys(map(str, part), "there") if isinstance(part, list) else {}
