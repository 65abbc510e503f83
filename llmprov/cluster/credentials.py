"""The administrator's credentials: read from a control plane over SSH, kept in memory."""

import base64
import binascii
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmprov import ssh
from llmprov.errors import ClusterError, HostConnectionError

ADMIN_KUBECONFIG = "/etc/kubernetes/admin.conf"
_DEFAULT_PORT = 443


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A control plane as the way in: its name for messages, how to log in, and what gives the sudo password if any."""

    name: str
    ssh: ssh.SshTarget
    sudo_password: Callable[[], str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the API is, as the control plane sees it, and what proves who both sides are. Never shown in a repr."""

    host: str
    port: int
    ca: str = field(repr=False)
    certificate: str = field(repr=False)
    key: str = field(repr=False)

    def ssl_context(self) -> ssl.SSLContext:
        """A context that verifies the API server and presents the client certificate."""
        context = ssl.create_default_context(cadata=self.ca)
        # Python loads a client key from a path only: an anonymous file in memory is one that never reaches a disk.
        memory = os.memfd_create("llmprov-client", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(memory), "w", encoding="ascii") as file:
                file.write(self.certificate + "\n" + self.key)
            context.load_cert_chain(f"/proc/self/fd/{memory}")
        finally:
            os.close(memory)
        return context


def read_credentials(plane: ControlPlane) -> Credentials:
    """Read the administrator's kubeconfig of a control plane.

    Raises:
        HostConnectionError: the host cannot be reached, or sudo is refused.
        ClusterError: there is no cluster on it, or the file is not a kubeconfig.
    """
    sudo, secret = ssh.sudo(plane.sudo_password)
    result = ssh.run(plane.ssh, [*sudo, "cat", ADMIN_KUBECONFIG], stdin=secret)
    if result.returncode == 0:
        return parse_kubeconfig(result.stdout, where=f"{plane.name}:{ADMIN_KUBECONFIG}")
    if "No such file" in result.stderr:
        raise ClusterError(
            f"{plane.name} is no control plane yet: it has no {ADMIN_KUBECONFIG}", remedy="run `llmprov install` first"
        )
    raise HostConnectionError(
        f"{plane.name}: sudo was refused, so {ADMIN_KUBECONFIG} cannot be read",
        remedy="give the user passwordless sudo, or the right ansible_become_password",
        details=tuple(result.stderr.splitlines()),
    )


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _ClusterEntry(_Wire):
    server: str
    ca: str = Field(alias="certificate-authority-data")


class _NamedCluster(_Wire):
    cluster: _ClusterEntry


class _UserEntry(_Wire):
    certificate: str = Field(alias="client-certificate-data")
    key: str = Field(alias="client-key-data")


class _NamedUser(_Wire):
    user: _UserEntry


class _Kubeconfig(_Wire):
    clusters: tuple[_NamedCluster, ...] = Field(min_length=1)
    users: tuple[_NamedUser, ...] = Field(min_length=1)


def parse_kubeconfig(text: bytes, *, where: str) -> Credentials:
    """Read a kubeconfig as kubeadm writes it: one cluster, one user, certificates inline."""
    try:
        config = _Kubeconfig.model_validate(yaml.safe_load(text))
        cluster, user = config.clusters[0].cluster, config.users[0].user
        server = urlsplit(cluster.server)
        return Credentials(
            host=server.hostname or "",
            port=server.port or _DEFAULT_PORT,
            ca=_decoded(cluster.ca),
            certificate=_decoded(user.certificate),
            key=_decoded(user.key),
        )
    except (yaml.YAMLError, ValidationError, binascii.Error, ValueError) as error:
        # The parsers' own messages quote what they read, and what they read is a secret.
        raise ClusterError(
            f"{where} is not a kubeconfig with inline certificates ({type(error).__name__})",
            remedy="write it anew on the control plane: kubeadm init phase kubeconfig admin",
        ) from None


def _decoded(value: str) -> str:
    return base64.b64decode(value, validate=True).decode("ascii")
