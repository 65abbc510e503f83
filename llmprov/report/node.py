"""The results of `llmprov node`."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.markup import escape

from llmprov.node_states import Added, Drained, Removed, Replaced, Uncordoned
from llmprov.report.console import out


def print_drained(nodes: Sequence[Drained], *, as_json: bool) -> None:
    """Print which nodes are empty."""
    if as_json:
        out.print_json(json.dumps([asdict(node) for node in nodes]))
        return
    for node in nodes:
        _print_drained(node)
        out.print(f"it takes no pods: llmprov node uncordon {escape(node.node)}")


def print_uncordoned(nodes: Sequence[Uncordoned], *, as_json: bool) -> None:
    """Print which nodes take pods again."""
    if as_json:
        out.print_json(json.dumps([asdict(node) for node in nodes]))
        return
    for node in nodes:
        was = "takes pods again" if node.changed else "took pods already"
        finished = f"; {_count(node.finished, 'replica')} of its drain stopped" if node.finished else ""
        out.print(f"[green]{escape(node.node)}[/] {was}{finished}")


def print_added(added: Added, *, as_json: bool) -> None:
    """Print which hosts are nodes now."""
    if as_json:
        out.print_json(json.dumps(asdict(added)))
        return
    names = escape(", ".join(added.hosts))
    out.print(f"[green]Ready[/] {names}: {added.changes} changes, {added.seconds:.1f} s")


def print_removed(hosts: Sequence[Removed], *, as_json: bool) -> None:
    """Print which hosts are no nodes any more, and what would bring them back."""
    if as_json:
        out.print_json(json.dumps([asdict(host) for host in hosts]))
        return
    for host in hosts:
        _print_removed(host)


def print_replaced(replaced: Replaced, *, as_json: bool) -> None:
    """Print both halves."""
    if as_json:
        out.print_json(json.dumps(asdict(replaced)))
        return
    print_added(replaced.added, as_json=False)
    _print_removed(replaced.removed)


def _print_drained(node: Drained) -> None:
    out.print(
        f"[green]{escape(node.node)}[/] is empty: {_count(node.replaced, 'replica')} replaced, "
        f"{_count(node.evicted, 'pod')} evicted, {node.staying} that belong to every node stay; {node.seconds:.1f} s"
    )


def _print_removed(host: Removed) -> None:
    name = escape(host.host)
    if host.drained is not None:
        _print_drained(host.drained)
    state = "is bare again" if host.reset else "was taken out as dead, neither drained nor reset"
    member = ", and no member of etcd" if host.member else ""
    out.print(f"[green]{name}[/] is no node any more{member}; it {state}; {host.seconds:.1f} s")
    if host.declared:
        out.print(f"take {name} out of the inventory: the next install would add it again")


def _count(items: Sequence[str], what: str) -> str:
    return f"{len(items)} {what}" if len(items) == 1 else f"{len(items)} {what}s"
