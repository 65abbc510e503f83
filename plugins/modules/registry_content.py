"""Ansible module: wait until the cluster's registry holds what the next step fetches from it."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: registry_content
short_description: Wait for blobs and manifests of a registry
description:
  - Asks for each address until all are there. Changes nothing.
  - In check mode it does not wait, since nothing was pushed.
options:
  content:
    description: What must be there.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {type: str, required: true, description: What messages call it.}
      url: {type: str, required: true, description: Address of the blob or manifest.}
  timeout: {type: int, default: 1800, description: Seconds to wait.}
"""

EXAMPLES = r"""
- name: Wait for etcd's image
  registry_content:
    content:
      - name: etcd
        url: http://10.0.0.11:5000/v2/registry.k8s.io/etcd/manifests/sha256:0123
"""

RETURN = r"""
waited:
  description: Seconds.
  returned: always
  type: float
"""

_PAUSE_S = 0.25
_ANSWER_S = 10
_OCI = "application/vnd.oci.image"
_DOCKER = "application/vnd.docker.distribution.manifest"
_ACCEPT = f"{_OCI}.index.v1+json, {_OCI}.manifest.v1+json, {_DOCKER}.list.v2+json, {_DOCKER}.v2+json"
# The registry is on the cluster's own network: a proxy set for the host's other traffic is never right here.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _problem(url: str) -> str:
    """Return why an address cannot be fetched yet; empty when it can."""
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": _ACCEPT})  # noqa: S310 - http, from the roles
    try:
        with _OPENER.open(request, timeout=_ANSWER_S):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        return str(getattr(error, "reason", error) or type(error).__name__)


def _wait(content: list[dict[str, Any]], seconds: float) -> tuple[list[dict[str, Any]], str]:
    """Wait for all; return what is missing at the end of the time, and the last reason."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    missing = list(content)
    while missing:
        problem = _problem(missing[0]["url"])
        if not problem:
            missing.pop(0)
        elif time.monotonic() >= deadline:
            return missing, problem
        else:
            pause.wait(_PAUSE_S)
    return [], ""


def main() -> None:
    """Run the module."""
    options = {"name": {"type": "str", "required": True}, "url": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "content": {"type": "list", "elements": "dict", "required": True, "options": options},
            "timeout": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
    started = time.monotonic()
    content, timeout = module.params["content"], module.params["timeout"]
    missing, problem = ([], "") if module.check_mode else _wait(content, timeout)
    waited = round(time.monotonic() - started, 3)
    if missing:
        module.fail_json(
            msg=f"after {timeout} s the cluster's registry still lacks {', '.join(item['name'] for item in missing)} "
            f"({missing[0]['url']}: {problem}); push the bundle: llmprov bundle push",
            waited=waited,
        )
    module.exit_json(changed=False, waited=waited)


if __name__ == "__main__":
    main()
