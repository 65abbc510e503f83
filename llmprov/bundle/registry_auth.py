"""Logs in to registries as docker does: anonymous tokens, or the credentials that `skopeo login` and docker keep."""

import base64
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from requests.auth import AuthBase

from llmprov.bundle.store import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TIMEOUT = (10.0, 30.0)


@dataclass
class RegistryAuth(AuthBase):
    """Answers a registry's challenge with a token for pulling one repository.

    Args:
        host: as written in image references; credentials are kept under it.
        repository: what the token is for.
    """

    host: str
    repository: str
    _header: str = field(default="", repr=False)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token, and be ready for a challenge."""
        if self._header:
            request.headers["Authorization"] = self._header
        request.hooks["response"].append(self._on_response)
        return request

    def _on_response(self, response: requests.Response, **kwargs: object) -> requests.Response:
        challenge = response.headers.get("WWW-Authenticate", "")
        if response.status_code != requests.codes.unauthorized or response.request.headers.get("X-Retried"):
            return response
        self._header = self._answer(challenge)
        if not self._header:
            return response
        response.raw.read(CHUNK)
        response.close()
        again = response.request.copy()
        again.headers.update({"Authorization": self._header, "X-Retried": "1"})
        send: Callable[..., requests.Response] = response.connection.send
        answer = send(again, **kwargs)
        answer.history.append(response)
        return answer

    def _answer(self, challenge: str) -> str:
        scheme, _, rest = challenge.partition(" ")
        login = stored_credentials(self.host)
        if scheme.lower() == "basic" and login:
            return f"Basic {login}"
        parameters = dict(_CHALLENGE.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in parameters:
            return ""
        query = {"scope": parameters.get("scope", f"repository:{self.repository}:pull")}
        if "service" in parameters:
            query["service"] = parameters["service"]
        headers = {"Authorization": f"Basic {login}"} if login else {}
        reply = requests.get(parameters["realm"], params=query, headers=headers, timeout=_TIMEOUT)
        with suppress(ValueError, AttributeError):
            token = reply.json().get("token") or reply.json().get("access_token")
            return f"Bearer {token}" if token else ""
        return ""


def stored_credentials(host: str) -> str:
    """The base64 `user:password` that a login left for this registry, or an empty string."""
    keys = {host, f"https://{host}", "https://index.docker.io/v1/" if host == "docker.io" else host}
    for path in _auth_files():
        with suppress(OSError, ValueError, AttributeError):
            auths = json.loads(path.read_text()).get("auths", {})
            for key in keys & set(auths):
                login = str(auths[key].get("auth", ""))
                base64.b64decode(login, validate=True)
                return login
    return ""


def _auth_files() -> list[Path]:
    named = [os.environ[name] for name in ("REGISTRY_AUTH_FILE",) if os.environ.get(name)]
    docker = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") / "containers" / "auth.json"
    return [*map(Path, named), runtime, docker]
