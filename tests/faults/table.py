"""The faults that a cluster is to survive: what is done, what the plan says of it, what the next install does.

The cluster has a control plane cp1 and the workers gpu1 and gpu2.
"""

import shlex

from llmprov.errors import ExitCode
from llmprov.stages import STAGES, Runner, Where
from tests.faults.cluster import Stages, nodes_in_use
from tests.faults.fault import Deed, Fault, Serving
from tests.lab.conftest import Lab
from tests.lab.polling import until

_OF_WORKERS = (Where.ALL, Where.WORKERS, Where.GPU_WORKERS)


def on(host: str, command: str) -> Deed:
    """Run a shell command on a host as root."""

    def run(lab: Lab) -> None:
        lab.ssh(host, f"sudo sh -euc {shlex.quote(command)}")

    return run


def verb(*arguments: str) -> Deed:
    """Have the lab do something to a host."""

    def run(lab: Lab) -> None:
        lab.llmprov("lab", *arguments, "--name", lab.name)

    return run


def each(*deeds: Deed) -> Deed:
    """Do one after the other."""

    def run(lab: Lab) -> None:
        for deed in deeds:
            deed(lab)

    return run


def node_is_back(host: str) -> Deed:
    """Wait until a node is Ready, and lets pods in again."""

    def run(lab: Lab) -> None:
        # The kubelet holds on to a full disk for five minutes.
        until(lambda: host in nodes_in_use(lab), seconds=480, what=f"{host} to be Ready, without taints")

    return run


def unreachable(host: str) -> Stages:
    """Return the verdicts of a worker that does not answer."""
    of_ansible = (stage for stage in STAGES if stage.runner is Runner.ANSIBLE)
    return {(host, stage.name): "unreachable" for stage in of_ansible if stage.where in _OF_WORKERS}


FAULTS = (
    Fault(
        name="a managed file is edited",
        do=on("gpu1", "echo net.ipv4.ip_forward = 0 >> /etc/sysctl.d/90-llmprov.conf"),
        plan={("gpu1", "base"): "drifted"},
        because="/etc/sysctl.d/90-llmprov.conf",
        arguments=("--repair-drift",),
    ),
    Fault(
        name="a managed file is removed",
        do=on("gpu2", "rm /etc/containerd/config.toml"),
        plan={("gpu2", "runtime"): "drifted"},
        because="/etc/containerd/config.toml",
        arguments=("--repair-drift",),
    ),
    Fault(
        name="a unit is masked",
        do=on(
            "gpu2",
            "systemctl stop kubelet; ln -sf /dev/null /etc/systemd/system/kubelet.service; systemctl daemon-reload",
        ),
        plan={("gpu2", "kubernetes"): "unhealthy"},
        because="unit kubelet.service is masked",
        short=True,
    ),
    Fault(
        name="the registry is stopped and disabled",
        do=on("cp1", "systemctl disable --now llmprov-registry@serve.service llmprov-registry@push.service"),
        plan={("cp1", "registry"): "unhealthy"},
        because="llmprov-registry@serve.service",
    ),
    Fault(
        name="a package is removed",
        do=on("gpu2", "dpkg --remove --force-depends ethtool"),
        plan={("gpu2", "packages"): "unhealthy"},
        because="package ethtool is not installed",
    ),
    Fault(
        name="a record is cut off in the middle",
        do=on("gpu1", "truncate --size=40 /var/lib/llmprov/stages/runtime.json"),
        plan={("gpu1", "runtime"): "missing"},
        because="cannot be read",
    ),
    Fault(
        name="a worker's cable is pulled",
        do=verb("cut", "gpu2"),
        plan=unreachable("gpu2"),
        undo=each(verb("heal", "gpu2"), node_is_back("gpu2")),
        meanwhile=(ExitCode.PARTIAL,),
        host="gpu2",
        serving=Serving.COMES_BACK,
    ),
    Fault(
        name="a worker loses power",
        do=verb("poweroff", "gpu2", "--hard"),
        plan=unreachable("gpu2"),
        undo=each(verb("start", "gpu2"), node_is_back("gpu2")),
        meanwhile=(ExitCode.PARTIAL,),
        host="gpu2",
        serving=Serving.COMES_BACK,
    ),
    Fault(
        name="the control plane is rebooted",
        do=verb("reboot", "cp1"),
        plan={},
        undo=node_is_back("cp1"),
        serving=Serving.COMES_BACK,
    ),
    Fault(
        name="a worker's disk is full",
        # Without its record the stage is to be run again, and its new record finds no room.
        do=on(
            "gpu2",
            "rm /var/lib/llmprov/stages/base.json; "
            "fallocate -l $(df --output=avail --block-size=1 /var | tail -n 1) /var/full; "
            "dd if=/dev/zero of=/var/fuller bs=4k status=none || true",
        ),
        plan={("gpu2", "base"): "missing"},
        undo=each(on("gpu2", "rm -f /var/full /var/fuller"), node_is_back("gpu2")),
        # The kubelet evicts pods until the host's stage has room; then it is the models that lack a node.
        meanwhile=(ExitCode.PARTIAL, ExitCode.CLUSTER),
        host="gpu2",
        serving=Serving.COMES_BACK,
    ),
)
