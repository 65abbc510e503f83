"""The state of hosts, nodes and models as tables or as JSON."""

import json
from dataclasses import asdict
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from llmprov.cluster.nodes import NodeState
from llmprov.cluster.pods import utc_now
from llmprov.report.console import err, out
from llmprov.states import HostState, ModelState, Status

_GOOD, _BAD = "green", "red"
_DAY, _HOUR, _MINUTE = 86400, 3600, 60


def print_status(status: Status, *, as_json: bool) -> None:
    """Print everything; what is wrong is red and in words."""
    if as_json:
        document = {**asdict(status), "ok": not status.exit_code}
        out.print_json(json.dumps(document, default=str))
        return
    out.print(f"cluster [bold]{escape(status.cluster)}[/] {status.version}".rstrip())
    out.print(_hosts(status.hosts))
    if status.problem:
        err.print(f"[bold {_BAD}]no cluster:[/] {escape(status.problem)}")
        return
    out.print(_nodes(status.nodes))
    out.print(_models(status.models))
    for model in status.models:
        if model.endpoint:
            out.print(f"endpoint of {escape(model.served_name)}: {escape(model.endpoint)} (inside the cluster)")
    out.print(f"gateway for clients: {escape(status.endpoint) or 'none'}")
    _print_alerts(status)


def _print_alerts(status: Status) -> None:
    if status.monitoring:
        out.print(f"[{_BAD}]alerts are not known:[/] {escape(status.monitoring)}")
    elif not status.alerts:
        out.print("no alert fires")
    for alert in status.alerts:
        out.print(f"[{_BAD}]{escape(alert.name)}[/] {escape(alert.summary)}", soft_wrap=True)


def _hosts(hosts: tuple[HostState, ...]) -> Table:
    table = _table("hosts", "name", "address", "SSH", "stages")
    for host in hosts:
        reached = _mark("ok" if host.reachable else "unreachable", good=host.reachable)
        stages = escape(host.problem) or ", ".join(host.stages) or "bare"
        table.add_row(host.name, host.address, reached, stages)
    return table


def _nodes(nodes: tuple[NodeState, ...]) -> Table:
    table = _table("nodes", "name", "state", "role", "version", "GPUs used")
    for node in nodes:
        state = "Ready" if node.ready else f"not Ready: {node.reason}"
        state += "" if node.schedulable else ", cordoned"
        role = "control plane" if node.control_plane else "worker"
        gpus = f"{node.gpus_used} of {node.gpus}" if node.gpus else "-"
        table.add_row(node.name, _mark(state, good=node.ready and node.schedulable), role, node.version, gpus)
    return table


def _models(models: tuple[ModelState, ...]) -> Table:
    table = _table("models", "name", "ready", "age", "replicas", "engine")
    for model in models:
        ready = _mark(f"{model.ready} of {model.wanted}", good=model.healthy)
        image = model.image.partition("@")[0].removeprefix("docker.io/")
        table.add_row(model.name, ready, age(model.created), escape("\n".join(model.replicas)), escape(image))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    return table


def _mark(text: str, *, good: bool) -> str:
    return f"[{_GOOD if good else _BAD}]{escape(text)}[/]"


def age(since: datetime | None) -> str:
    """Return how long ago something was, in the largest unit that fits."""
    if since is None:
        return "-"
    seconds = int((utc_now() - since).total_seconds())
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
