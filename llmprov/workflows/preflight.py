"""Preflight: ask every host at once, judge the answers, report everything that is wrong. Changes nothing."""

import time
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from llmprov.bundle.lock import LOCK_FILE, BundleLock
from llmprov.errors import PreflightError
from llmprov.inventory import Inventory, ModelSpec
from llmprov.paths import content_root
from llmprov.preflight import Asked, Context, Finding, HostFacts, ImageNeed, Needs, PreflightReport, judge
from llmprov.preflight.needs import BASE_PATHS, CONTAINERD_PATH, ETCD_PATH, FEATURES
from llmprov.preflight.rules_remains import expected_listeners
from llmprov.progress import Progress
from llmprov.runner import Kind, Options, RunEvent, RunResult
from llmprov.runner import run as run_playbook
from llmprov.workflows.preflight_connection import explain
from llmprov.workflows.push_job import push_port

_MODULE = "preflight_facts"
_WEIGHTS_UNPACKED = 1.0
"""Weights hardly compress: unpacked they are about as large as in the registry."""


def run(inventory: Inventory, progress: Progress, *, limit: str = "") -> PreflightReport:
    """Ask all hosts (or those of `limit`) and judge what they say.

    Args:
        inventory: a valid inventory.
        progress: told how many hosts have answered.
        limit: host pattern, as Ansible's `--limit`.

    Returns:
        The report; `raise_for_errors` turns its errors into an exception.

    Raises:
        PreflightError: Ansible could not ask any host, or the limit names none.
    """
    started = time.monotonic()
    needs = _needs(inventory)
    with progress.step("preflight", "asking hosts") as step:
        watch = _Watch()

        def follow(event: RunEvent) -> None:
            watch.take(event)
            step.update("asking hosts", done=watch.answers, total=len(inventory.hosts))

        options = Options(limit=limit, extra_vars=_questions(inventory, needs), collect=(_MODULE,), strategy="linear")
        result = run_playbook(content_root() / "playbooks" / "preflight.yml", inventory.path, options, on_event=follow)
        _check_ran(result, limit)
        facts, findings = _read(inventory, result.returned(_MODULE))
        step.update("judging")
        findings += explain(inventory, result, facts)
        findings += judge(Context(inventory, needs, facts, watch.asked(facts)))
    return PreflightReport(
        hosts=_in_order(inventory, (outcome.host for outcome in result.hosts)),
        findings=tuple(findings),
        seconds=time.monotonic() - started,
    )


class _Watch:
    """Notes when each host was asked and when it answered: clocks are compared by it."""

    def __init__(self) -> None:
        self._sent: dict[str, float] = {}
        self._received: dict[str, float] = {}

    @property
    def answers(self) -> int:
        """How many hosts have answered."""
        return len(self._received)

    def take(self, event: RunEvent) -> None:
        """Note an event of the run."""
        if event.kind is Kind.START:
            self._sent.setdefault(event.host, time.time())
        elif event.kind is Kind.RESULT:
            self._received[event.host] = time.time()

    def asked(self, hosts: Iterable[str]) -> dict[str, Asked]:
        """Return both times of each host for which both are known."""
        known = self._sent.keys() & self._received.keys()
        return {name: Asked(self._sent[name], self._received[name]) for name in hosts if name in known}


def _questions(inventory: Inventory, needs: Needs) -> dict[str, object]:
    """Return the module's parameters; the same for every host."""
    settings = inventory.settings
    context = Context(inventory, needs, {})
    ports = {port for host in inventory.hosts for port in expected_listeners(host, context)}
    names = {settings.api_host, settings.registry_host, *(host.node_address for host in inventory.hosts)}
    return {
        "preflight_peers": [
            {"name": host.name, "address": host.node_address, "port": host.port} for host in inventory.hosts
        ],
        "preflight_ports": sorted(ports),
        "preflight_features": [*FEATURES, "vxlan"],
        "preflight_paths": [*BASE_PATHS, CONTAINERD_PATH, ETCD_PATH, needs.registry_path],
        "preflight_names": sorted(
            name for name in names if any(letter.isalpha() for letter in name) and ":" not in name
        ),
    }


def _needs(inventory: Inventory) -> Needs:
    """Return what bundle and models will take; without a bundle only what every host needs."""
    first = inventory.first_control_plane
    registry_path = str(first.variables.get("registry_data_dir", Needs.registry_path))
    directory = inventory.settings.bundle_dir
    if not (directory / LOCK_FILE).is_file():
        return Needs(registry_path=registry_path, push_port=push_port(first))
    lock = BundleLock.load(directory)
    sizes = {artifact.name: artifact.size for artifact in lock.artifacts if artifact.kind == "image"}
    sizes |= {artifact.ref: artifact.size for artifact in lock.artifacts if artifact.ref}
    engines = {model.engine.image for model in inventory.models}
    return Needs(
        bundle=sum(artifact.size for artifact in lock.artifacts),
        suites=frozenset(lock.suites),
        engines=tuple(ImageNeed(name, sizes[name]) for name in sorted(engines) if name in sizes),
        models=tuple(
            ImageNeed(model.name, sizes[name], _WEIGHTS_UNPACKED)
            for model in inventory.models
            if (name := _weights(model)) in sizes
        ),
        registry_path=registry_path,
        push_port=push_port(first),
    )


def _weights(model: ModelSpec) -> str:
    return model.source.artifact or model.source.image or ""


def _check_ran(result: RunResult, limit: str) -> None:
    if result.hosts:
        return
    output = result.output[-20:]
    if limit:
        remedy = "`llmprov inventory show` lists hosts and groups"
        raise PreflightError(f"--limit {limit!r} matches no host of the inventory", remedy=remedy, details=output)
    raise PreflightError("Ansible asked no host", remedy="run again with --debug", details=output)


def _in_order(inventory: Inventory, names: Iterable[str]) -> tuple[str, ...]:
    seen = set(names)
    return tuple(host.name for host in inventory.hosts if host.name in seen)


def _read(
    inventory: Inventory, returned: Mapping[str, Mapping[str, object]]
) -> tuple[dict[str, HostFacts], list[Finding]]:
    facts: dict[str, HostFacts] = {}
    findings: list[Finding] = []
    for host in _in_order(inventory, returned):
        answer = returned[host]
        if "facts" not in answer:
            continue  # the module failed; the run's failures say why
        try:
            facts[host] = HostFacts.model_validate(answer["facts"])
        except ValidationError as error:
            what = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            findings.append(Finding(host, "facts", f"gave facts that make no sense ({what})", "report this as a bug"))
    return facts, findings
