"""A small Kubernetes API in memory, on loopback: enough of it to test what llmprov does with its answers.

The same behaviour is tested against a real API server in tests/contract/apiserver.
"""

import copy
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

EXTERNAL_METRICS = "external.metrics.k8s.io/v1beta1"
"""Served without kinds: a metric is asked for by its own name."""

KINDS: dict[str, dict[str, tuple[str, bool]]] = {
    "v1": {
        "Namespace": ("namespaces", False),
        "Node": ("nodes", False),
        "Pod": ("pods", True),
        "Event": ("events", True),
        "ConfigMap": ("configmaps", True),
        "ResourceQuota": ("resourcequotas", True),
        "Secret": ("secrets", True),
        "Service": ("services", True),
        "ServiceAccount": ("serviceaccounts", True),
    },
    "apps/v1": {
        "Deployment": ("deployments", True),
        "DaemonSet": ("daemonsets", True),
        "StatefulSet": ("statefulsets", True),
        "ReplicaSet": ("replicasets", True),
    },
    "batch/v1": {"Job": ("jobs", True)},
    "coordination.k8s.io/v1": {"Lease": ("leases", True)},
    "keda.sh/v1alpha1": {"ScaledObject": ("scaledobjects", True)},
    "apiregistration.k8s.io/v1": {"APIService": ("apiservices", False)},
    "autoscaling/v2": {"HorizontalPodAutoscaler": ("horizontalpodautoscalers", True)},
    "gateway.networking.k8s.io/v1": {"Gateway": ("gateways", True), "HTTPRoute": ("httproutes", True)},
    "gateway.envoyproxy.io/v1alpha1": {
        "BackendTrafficPolicy": ("backendtrafficpolicies", True),
        "HTTPRouteFilter": ("httproutefilters", True),
    },
    "policy/v1": {"PodDisruptionBudget": ("poddisruptionbudgets", True)},
    "rbac.authorization.k8s.io/v1": {
        "ClusterRole": ("clusterroles", False),
        "ClusterRoleBinding": ("clusterrolebindings", False),
        "Role": ("roles", True),
        "RoleBinding": ("rolebindings", True),
    },
    "apiextensions.k8s.io/v1": {"CustomResourceDefinition": ("customresourcedefinitions", False)},
    "scheduling.k8s.io/v1": {"PriorityClass": ("priorityclasses", False)},
    "networking.k8s.io/v1": {"NetworkPolicy": ("networkpolicies", True)},
}

type Json = dict[str, Any]
type Key = tuple[str, str, str]
type Route = Callable[["_Handler"], None]


@dataclass
class FakeApi:
    """The state, and what is to go wrong."""

    objects: dict[Key, Json] = field(default_factory=dict)
    version: int = 1
    changed: threading.Condition = field(default_factory=threading.Condition)
    log: list[tuple[int, str, Json]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    """Statuses to answer the next requests with; 0 drops the connection."""
    expire_watches: int = 0
    conflict: str = ""
    logs: dict[str, str] = field(default_factory=dict)
    proxied: Callable[[Json], tuple[int, list[bytes]]] | None = None
    url: str = ""
    budgets: dict[str, int] = field(default_factory=dict)
    """How often the eviction of a pod is refused, by its name."""
    clock: timedelta = timedelta(0)
    """How far its clock is ahead."""

    def put(self, item: Json) -> Json:
        """Store an object as if somebody else had written it."""
        group, kind = item["apiVersion"], item["kind"]
        plural, _ = KINDS[group][kind]
        meta = item["metadata"]
        key = (f"{group}/{plural}", meta.get("namespace", ""), meta["name"])
        with self.changed:
            old = self.objects.get(key)
            stored = copy.deepcopy(item)
            stored["metadata"].setdefault("uid", f"uid-{meta['name']}")
            if old is not None and _bare(old) == _bare(stored):
                return old
            self.version += 1
            stored["metadata"]["resourceVersion"] = str(self.version)
            self.objects[key] = stored
            self.log.append((self.version, "MODIFIED" if old else "ADDED", stored))
            self.changed.notify_all()
            return stored

    def create(self, plural: str, namespace: str, item: Json, *, dry: bool) -> tuple[int, Json]:
        """Create an object that is not there yet; a dry run only stamps it."""
        meta = item["metadata"]
        stamp = (datetime.now(UTC) + self.clock).strftime("%Y-%m-%dT%H:%M:%SZ")
        stamped = {**item, "metadata": {**meta, "creationTimestamp": stamp}}
        with self.changed:
            if dry:
                return 201, stamped
            if (plural, namespace, meta["name"]) in self.objects:
                return 409, {**_status(409, "already exists"), "reason": "AlreadyExists"}
            return 201, self.put(stamped)

    def replace(self, key: Key, item: Json) -> tuple[int, Json]:
        """Replace the very version of an object that was read."""
        with self.changed:
            old = self.objects.get(key)
            if old is None:
                return 404, _status(404, "not found")
            if item["metadata"].get("resourceVersion") != old["metadata"]["resourceVersion"]:
                return 409, _status(409, "the object has been modified")
            return 200, self.put(item)

    def evict(self, namespace: str, name: str) -> tuple[int, Json]:
        """Delete a pod, unless its budget forbids it."""
        if self.budgets.get(name, 0):
            self.budgets[name] -= 1
            message = f"The disruption budget {name} needs 1 healthy pods and has 1 currently"
            cause = {"reason": "DisruptionBudget", "message": message}
            return 429, {**_status(429, "Cannot evict pod"), "details": {"causes": [cause]}}
        if not self.remove(("v1/pods", namespace, name)):
            return 404, _status(404, "not found")
        return 201, _status(201, "")

    def remove(self, key: Key) -> bool:
        """Delete an object."""
        with self.changed:
            gone = self.objects.pop(key, None)
            if gone is None:
                return False
            self.version += 1
            gone["metadata"]["resourceVersion"] = str(self.version)
            self.log.append((self.version, "DELETED", gone))
            self.changed.notify_all()
            return True


@contextmanager
def serve(api: FakeApi) -> Iterator[str]:
    """Serve it on loopback; yields its URL."""
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        api.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield api.url
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""

    def do_GET(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body: Json = json.loads(self.rfile.read(length)) if length else {}
        self.api.requests.append(f"{self.command} {self.path}")
        if self.api.faults:
            status = self.api.faults.pop(0)
            if not status:
                self.close_connection = True
                self.connection.close()
                return
            self._send(status, _status(status, "made to fail"))
            return
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self._route([part for part in parts.path.split("/") if part], query, body)

    def _route(self, path: list[str], query: dict[str, str], body: Json) -> None:
        if path == ["version"]:
            return self._send(200, {"gitVersion": "v1.37.2"})
        if path in (["api"], ["apis"]):
            return self._send(200, _discovery(core=path == ["api"]))
        group = "v1" if path[0] == "api" else "/".join(path[1:3])
        rest = path[2:] if path[0] == "api" else path[3:]
        if group not in {*KINDS, EXTERNAL_METRICS} or not rest:
            return self._send(404, _status(404, "the server could not find the requested resource"))
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        if "proxy" in rest:
            return self._proxy(body)
        if rest[-1] == "log":
            text = self.api.logs.get(f"{rest[1]}/{query.get('previous', 'false')}")
            return self._send(200, text.encode()) if text is not None else self._send(400, _status(400, "no log"))
        return self._object(f"{group}/{rest[0]}", namespace, rest[1:], query, body)

    def _object(self, plural: str, namespace: str, rest: list[str], query: dict[str, str], body: Json) -> None:
        if self.command == "POST":
            made = self.api.create(plural, namespace, body, dry=bool(query.get("dryRun"))) if not rest else None
            return self._send(*(made or self.api.evict(namespace, rest[0])))
        if not rest:
            if query.get("watch"):
                return self._watch(plural, namespace, query)
            return self._send(200, self._list(plural, namespace, query))
        key = (plural, namespace, rest[0])
        if self.command == "DELETE":
            gone = self.api.remove(key)
            return self._send(200, _status(200, "")) if gone else self._send(404, _status(404, "not found"))
        if self.command in {"PATCH", "PUT"}:
            return self._change(key, body, query)
        found = self.api.objects.get(key)
        return self._send(200, found) if found else self._send(404, _status(404, f"{rest[0]} not found"))

    def _change(self, key: Key, body: Json, query: dict[str, str]) -> None:
        if self.command == "PUT":
            return self._send(*self.api.replace(key, body))
        if self.api.conflict and key[2] == self.api.conflict:
            cause = {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl"', "field": ".spec.replicas"}
            document = {**_status(409, "Apply failed"), "details": {"causes": [cause]}}
            return self._send(409, document)
        if key[1] and ("v1/namespaces", "", key[1]) not in self.api.objects:
            return self._send(404, _status(404, f'namespaces "{key[1]}" not found'))
        old = self.api.objects.get(key, {})
        merged = _merged(old, body)
        if self.headers["Content-Type"] == "application/apply-patch+yaml":
            _record_owner(merged, body, query["fieldManager"])
        return self._send(200, merged if query.get("dryRun") else self.api.put(merged))

    def _list(self, plural: str, namespace: str, query: dict[str, str]) -> Json:
        found = [
            item
            for (kind, where, _), item in sorted(self.api.objects.items())
            if kind == plural and namespace in {"", where} and _matches(item, query.get("labelSelector", ""))
        ]
        return {"kind": "List", "metadata": {"resourceVersion": str(self.api.version)}, "items": found}

    def _watch(self, plural: str, namespace: str, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.api.expire_watches:
            self.api.expire_watches -= 1
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            self.wfile.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return
        seen = int(query["resourceVersion"])
        api = self.api
        with api.changed:
            api.changed.wait_for(lambda: api.version > seen, timeout=0.05)
            events = [(kind, item) for version, kind, item in api.log if version > seen]
        for kind, item in events:
            where = item["metadata"].get("namespace", "")
            wanted = f"{item['apiVersion']}/{KINDS[item['apiVersion']][item['kind']][0]}" == plural
            if wanted and namespace in {"", where} and _matches(item, query.get("labelSelector", "")):
                self.wfile.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")

    def _proxy(self, body: Json) -> None:
        if self.api.proxied is None:
            return self._send(503, _status(503, "no endpoints available for service"))
        status, pieces = self.api.proxied(body)
        self.send_response(status)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
        return None

    def _send(self, status: int, body: Json | bytes) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _discovery(*, core: bool) -> Json:
    items = []
    for api_version, kinds in KINDS.items():
        group, _, version = api_version.rpartition("/")
        if core is bool(group):
            continue
        resources = [
            {
                "resource": plural,
                "scope": "Namespaced" if inside else "Cluster",
                "responseKind": {"kind": kind},
                "subresources": [{"subresource": "status", "responseKind": {"kind": kind}}],
            }
            for kind, (plural, inside) in kinds.items()
        ]
        items.append({"metadata": {"name": group}, "versions": [{"version": version, "resources": resources}]})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items}


def _status(code: int, message: str) -> Json:
    reasons = {404: "NotFound", 403: "Forbidden", 422: "Invalid", 409: "Conflict", 503: "ServiceUnavailable"}
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reasons.get(code, ""), "message": message}


def _matches(item: Json, selector: str) -> bool:
    labels = item["metadata"].get("labels", {})
    for term in filter(None, re.split(r",(?![^(]*\))", selector)):
        if found := re.fullmatch(r"(\S+) in \((.*)\)", term):
            if labels.get(found[1]) not in found[2].split(","):
                return False
            continue
        key, equals, value = term.partition("=")
        if (labels.get(key) != value) if equals else (key not in labels):
            return False
    return True


def _merged(old: Json, new: Json) -> Json:
    result = copy.deepcopy(old)
    for key, value in new.items():
        if value is None:  # a merge patch deletes by it
            result.pop(key, None)
            continue
        if isinstance(value, dict):
            below = result.get(key)
            result[key] = _merged(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _record_owner(stored: Json, applied: Json, manager: str) -> None:
    """Note which fields a manager applied; every list counts as one field."""
    identity = {"apiVersion", "kind", "status"}
    named = {key: value for key, value in applied.items() if key not in identity}
    named["metadata"] = {key: value for key, value in applied["metadata"].items() if key not in {"name", "namespace"}}
    others = [entry for entry in stored["metadata"].get("managedFields", ()) if entry["manager"] != manager]
    mine = {"manager": manager, "operation": "Apply", "fieldsV1": _fields(named)}
    stored["metadata"]["managedFields"] = [*others, mine]


def _fields(value: object) -> Json:
    return {f"f:{key}": _fields(child) for key, child in value.items()} if isinstance(value, dict) else {}


def _bare(item: Json) -> Json:
    bare = copy.deepcopy(item)
    bare["metadata"].pop("resourceVersion", None)
    return bare
