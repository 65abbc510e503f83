"""The members of the cluster's etcd, asked and removed through a living control plane's own member, over SSH."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import urllib3
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmprov import ssh
from llmprov.cluster.credentials import ControlPlane, Credentials
from llmprov.errors import ClusterError, HostConnectionError

PORT = 2379
_PKI = "/etc/kubernetes/pki/etcd"
_FILES = (f"{_PKI}/ca.crt", f"{_PKI}/healthcheck-client.crt", f"{_PKI}/healthcheck-client.key")
_MARK = "-----BEGIN"


class Member(BaseModel):
    """One member: its ID as etcd's JSON gives it, and the name of its node; empty before it has ever started."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(alias="ID")
    name: str = ""


class _Members(BaseModel):
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class Etcd:
    """Etcd, as one of its members answers; `where` is the control plane that it runs on."""

    where: str
    pool: urllib3.PoolManager
    url: str

    def members(self) -> tuple[Member, ...]:
        """Return all members, healthy or not.

        Raises:
            ClusterError: etcd does not answer; without a majority of its members it does not.
        """
        text = self._ask("member/list", {"linearizable": True})
        try:
            return _Members.model_validate_json(text).members
        except ValidationError as error:
            raise ClusterError(
                f"etcd on {self.where} answered something that is no list of members: {text[:200]!r}",
                remedy="this llmprov does not know its version: look at /etc/kubernetes/manifests/etcd.yaml there",
            ) from error

    def remove(self, member: Member) -> None:
        """Remove a member; the others do not wait for it any more.

        Raises:
            ClusterError: etcd refuses, or does not answer.
        """
        self._ask("member/remove", {"ID": member.id})

    def _ask(self, what: str, body: Mapping[str, object]) -> bytes:
        try:
            answer = self.pool.request("POST", f"{self.url}/v3/cluster/{what}", json=body, timeout=30.0)
        except urllib3.exceptions.HTTPError as error:
            raise _refused(self.where, what, str(error)) from error
        if answer.status != HTTPStatus.OK:
            raise _refused(self.where, what, f"{answer.status}: {answer.data.decode(errors='replace')[:300]}")
        return answer.data


@contextmanager
def connect(plane: ControlPlane) -> Iterator[Etcd]:
    """Open etcd on a control plane, with the certificate that the kubelet's own health check may use.

    Raises:
        HostConnectionError: the host cannot be reached, or sudo is refused.
        ClusterError: etcd does not run there.
    """
    credentials = read_credentials(plane)
    with ssh.tunnel(plane.ssh, credentials.host, credentials.port) as port:
        pool = urllib3.PoolManager(ssl_context=credentials.ssl_context(), server_hostname="localhost", retries=False)
        try:
            yield Etcd(plane.name, pool, f"https://127.0.0.1:{port}")
        finally:
            pool.clear()


def read_credentials(plane: ControlPlane) -> Credentials:
    """Read etcd's authority and a client certificate of a control plane; the key is kept in memory."""
    sudo, secret = ssh.sudo(plane.sudo_password)
    result = ssh.run(plane.ssh, [*sudo, "cat", *_FILES], stdin=secret)
    if result.returncode == 0:
        return _credentials(result.stdout.decode("ascii"), plane.name)
    if "No such file" in result.stderr:
        raise ClusterError(
            f"{plane.name} has no etcd of its own: {_FILES[1]} is not there",
            remedy="llmprov removes members of the etcd that kubeadm runs on control planes; remove others by hand",
        )
    raise HostConnectionError(
        f"{plane.name}: sudo was refused, so {_PKI} cannot be read",
        remedy="give the user passwordless sudo, or the right ansible_become_password",
        details=tuple(result.stderr.splitlines()),
    )


def _credentials(text: str, where: str) -> Credentials:
    parts = [_MARK + part for part in text.split(_MARK)[1:]]
    key = [part for part in parts if "PRIVATE KEY" in part.partition("\n")[0]]
    certificates = [part for part in parts if part not in key]
    if len(key) != 1 or len(certificates) < len(_FILES) - 1:
        raise ClusterError(
            f"{where}: {_PKI} does not hold an authority, a certificate and a key",
            remedy="make them anew there: kubeadm init phase certs etcd-healthcheck-client",
        )
    return Credentials("127.0.0.1", PORT, "".join(certificates[:-1]), certificates[-1], key[0])


def _refused(where: str, what: str, why: str) -> ClusterError:
    return ClusterError(
        f"etcd on {where}: {what}: {why}",
        remedy=f"look at it: journalctl -u kubelet on {where}, and the pod etcd-{where} in kube-system",
    )
