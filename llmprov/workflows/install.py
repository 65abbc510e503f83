"""From bare hosts to models that answer; from a cluster that stands to what the inventory says today.

What is already true costs a look. Of a first install the critical path is the pull of the engine's image and the start
of the engine; everything else runs beside it:

    inventory → bundle → survey → preflight → hosts (Ansible) → objects (network, GPUs, models) → ready
                                            │ └ network, plugin, kinds, while workers join │
                                            └ push: files, engine, the rest ─ pull on the GPU workers ┘
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

from llmprov import inventory as inventories
from llmprov import paths, runner
from llmprov.bundle.lock import BundleLock
from llmprov.bundle.push import Selection
from llmprov.errors import HostConnectionError
from llmprov.inventory import Inventory
from llmprov.plans import Plan, Verdict
from llmprov.progress import Progress
from llmprov.results import InstallResult, Objects, Pulled
from llmprov.runner import HostOutcome, Journal, Kind, Options, RunEvent, RunResult, Status
from llmprov.stages import Runner, Stage, stage_names
from llmprov.workflows import preflight
from llmprov.workflows.host_steps import HostSteps
from llmprov.workflows.install_bundle import require_whole
from llmprov.workflows.install_images import pulls
from llmprov.workflows.install_objects import apply_objects, nothing_to_apply
from llmprov.workflows.lock import Operator, only_operator
from llmprov.workflows.objects_beside import ObjectsBeside
from llmprov.workflows.phases import Phases
from llmprov.workflows.plan import chosen_hosts, chosen_stages
from llmprov.workflows.push_beside import PushBeside
from llmprov.workflows.push_job import PushJob
from llmprov.workflows.quarantine import Quarantine
from llmprov.workflows.survey import Survey, survey

_REGISTRY_SECONDS = 1800.0
_NOBODY = "all:!all"
_JOINING = ("control_plane", "worker")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to install.

    Attributes:
        inventory: directory or hosts file.
        limit: only these hosts, an Ansible host pattern; empty for all.
        until: last stage; empty for all.
        check: change nothing, say what would change.
        preflight: check the hosts first.
        repair_drift: also bring back files that somebody else changed.
        max_failed: how many workers may be set aside; None: as many as leave one, once there is a cluster.
        verbosity: of Ansible, 0 to 4.
    """

    inventory: Path
    limit: str = ""
    until: str = ""
    check: bool = False
    preflight: bool = True
    repair_drift: bool = False
    max_failed: int | None = None
    verbosity: int = 0


def install(request: Request, progress: Progress, *, on_output: Callable[[str], None] | None = None) -> InstallResult:
    """Install what the inventory describes; run again, it changes nothing and takes seconds.

    Args:
        request: see `Request`.
        progress: shows phases, and each host's stage and task.
        on_output: gets Ansible's own output.

    Raises:
        LlmprovError: the inventory, the bundle, a host, a stage or an object is not as it must be; what was done stays
            and the same command goes on from there.
    """
    journal = Journal.create("install")
    phases = Phases(journal, progress)
    with journal.whole_run("install", request.inventory), ExitStack() as held:
        cluster = _inventory(request, phases, progress)
        with phases.phase("bundle"):
            lock = require_whole(cluster.settings.bundle_dir, progress)
        with ThreadPoolExecutor(1) as pool:  # looking changes nothing: it need not wait for the lock
            locking = pool.submit(copy_context().run, _only_operator, request, cluster, journal, progress, held)
            found = _survey(request, cluster, lock, phases, progress)
            operator, away = locking.result()
        _record(journal, found.plan)
        run = _Run(
            request=request,
            cluster=cluster,
            lock=lock,
            found=found,
            operator=operator,
            quarantine=Quarantine(cluster, max_failed=request.max_failed, cluster_exists=found.cluster_exists),
            journal=journal,
            phases=phases,
            progress=progress,
        )
        warnings = (*cluster.warnings, *run.fit())
        if away is not None:
            raise away
        push = held.enter_context(PushBeside(run.push_job(), phases))
        beside = held.enter_context(run.objects_beside(push))
        hosts, changes = run.hosts(push, beside, on_output)
        objects = run.objects(push, beside) if _reaches_objects(request) else None
        return InstallResult(
            inventory=request.inventory,
            check=request.check,
            warnings=warnings,
            hosts=hosts,
            changes=changes,
            objects=objects,
            phases=phases.table,
            pulls=run.pulls(objects),
            seconds=phases.seconds,
            set_aside=run.quarantine.hosts,
        )


def _only_operator(
    request: Request, cluster: Inventory, journal: Journal, progress: Progress, held: ExitStack
) -> tuple[Operator | None, HostConnectionError | None]:
    """Be the only operator from now on; a first control plane that is away is told of later, with all other hosts."""
    if request.check:
        return None, None
    try:
        return held.enter_context(only_operator(cluster, "install", journal.run_id, progress)), None
    except HostConnectionError as error:
        return None, error


def _inventory(request: Request, phases: Phases, progress: Progress) -> Inventory:
    with phases.phase("inventory"):
        cluster = inventories.load(request.inventory)
    for warning in cluster.warnings:
        progress.note(warning)
    return cluster


def _survey(request: Request, cluster: Inventory, lock: BundleLock, phases: Phases, progress: Progress) -> Survey:
    with phases.timed("survey"):
        return survey(
            cluster,
            lock,
            _stages(request),
            progress,
            chosen=chosen_hosts(cluster, request.limit),
            objects=_reaches_objects(request),
        )


def _reaches_objects(request: Request) -> bool:
    return not request.check and any(stage.runner is Runner.PYTHON for stage in _stages(request))


def _stages(request: Request) -> tuple[Stage, ...]:
    return tuple(chosen_stages(request.until))


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the parts of one install share."""

    request: Request
    cluster: Inventory
    lock: BundleLock
    found: Survey
    operator: Operator | None
    quarantine: Quarantine
    journal: Journal
    phases: Phases
    progress: Progress

    @property
    def work(self) -> Mapping[str, tuple[str, ...]]:
        """The hosts to work on, by stage: those of the plan that were not set aside."""
        planned = self.found.plan.to_run(repair_drift=self.request.repair_drift)
        left = {
            stage: tuple(host for host in hosts if host not in self.quarantine.names)
            for stage, hosts in planned.items()
        }
        return {stage: hosts for stage, hosts in left.items() if hosts}

    def fit(self) -> tuple[str, ...]:
        """Check the hosts that are to be worked on; return what somebody should know although it stops nothing."""
        self._say_drift()
        chosen = chosen_hosts(self.cluster, self.request.limit) or tuple(host.name for host in self.cluster.hosts)
        silent = [item for item in self.found.unprobed if item.host in chosen]
        hosts = dict.fromkeys(host for hosts in self.work.values() for host in hosts)
        if self.request.preflight and not self.found.cluster_exists:
            hosts |= dict.fromkeys(item.host for item in silent)  # preflight says more of them, and of all others
            silent = []
        self.quarantine.unprobed(silent)
        if not (self.request.preflight and hosts):
            return ()
        with self.phases.timed("preflight"):
            report = preflight.run(self.cluster, self.progress, limit=",".join(hosts))
        warnings = tuple(finding.line for finding in report.warnings)
        for warning in warnings:
            self.progress.note(warning)
        self.quarantine.unfit(report)
        return warnings

    def push_job(self) -> PushJob:
        """Return the push of all that hosts and pods need; it waits for the registry that the hosts' stages bring."""
        return PushJob.to_cluster(
            self.cluster, Selection(files=True, images=self.found.images.push_order), patience=_REGISTRY_SECONDS
        )

    def objects_beside(self, push: PushBeside) -> ObjectsBeside:
        """Return what is applied while workers join; it begins when there is an API."""
        stages = [stage.name for stage in _stages(self.request)] if _reaches_objects(self.request) else []
        check = self.operator.check if self.operator else lambda: None
        return ObjectsBeside(
            self.cluster, self.lock, stages, push=push, phases=self.phases, progress=self.progress, check=check
        )

    def hosts(
        self, push: PushBeside, beside: ObjectsBeside, on_output: Callable[[str], None] | None
    ) -> tuple[RunResult, tuple[str, ...]]:
        """Bring the hosts to Ready; what they fetch is pushed meanwhile. Where nothing is to be done, nothing runs."""
        if self.found.plan.push and not self.request.check:
            push.start()
        changes: list[str] = []
        if not self.work:
            return self._untouched(), ()
        steps = HostSteps(self.progress, self.phases)

        def follow(event: RunEvent) -> None:
            steps.take(event)
            if event.kind is Kind.PLAY_END and event.stage == "control_plane" and event.hosts:
                beside.start()
            if event.status is Status.CHANGED:
                changes.append(f"{event.host}: {event.task}")

        with self.progress.step("hosts"), closing(steps):
            try:
                result = runner.run(
                    paths.content_root() / "playbooks" / "install.yml",
                    self.request.inventory,
                    self._options(),
                    journal=self.journal,
                    on_event=follow,
                    on_output=on_output,
                    stop=(push.failed, *([self.operator.lost] if self.operator else [])),
                )
            except KeyboardInterrupt:
                if push.failed.is_set():
                    push.wait()  # says what went wrong
                raise
            self.quarantine.failed(result)
        return self._with_untouched(result), tuple(changes)

    def objects(self, push: PushBeside, beside: ObjectsBeside) -> Objects:
        """Bring network, GPUs and models to Ready, on the hosts that are members of the cluster by now."""
        plan, members = self.found.plan, self.cluster.without(self._no_members())
        stages = frozenset(stage.name for stage in _stages(self.request))
        compared = not (self.work or plan.push or plan.objects_unknown)
        unfinished = plan.stages_in_cluster if compared else stages
        if not unfinished:
            return nothing_to_apply(members, stages)
        return apply_objects(
            members,
            self.lock,
            stages=stages,
            unfinished=unfinished,
            push=push,
            beside=beside,
            phases=self.phases,
            progress=self.progress,
            operator=self.operator,
            short_of_nodes=bool(self.quarantine.hosts),
        )

    def pulls(self, objects: Objects | None) -> tuple[Pulled, ...]:
        """Ask the workers how long this run's pulls took, once models answer."""
        pulling = [self.cluster.host(name) for name in self._prepulling()]
        found = pulls(pulling, within=self.phases.seconds) if objects is not None else ()
        for pulled in found:
            self.journal.record("pull", host=pulled.host, image=pulled.image, seconds=pulled.seconds)
        for start in objects.starts if objects is not None else ():
            self.journal.record("engine_start", node=start.node, pod=start.pod, seconds=start.seconds)
        return found

    def _options(self) -> Options:
        work = self.work
        joining = [host for stage in _JOINING for host in work.get(stage, ())]
        hosts = {
            # Each role checks its arguments whatever --tags says: a play without work must have no hosts.
            **dict.fromkeys(stage_names(runner=Runner.ANSIBLE), ()),
            **work,
            "probe": tuple(dict.fromkeys(host for names in work.values() for host in names)),
            # What follows in the cluster waits for Ready nodes itself, beside other things.
            "ready": () if _reaches_objects(self.request) else tuple(dict.fromkeys(joining)),
            "prepull": self._prepulling(),
        }
        return Options(
            tags=(*work, *(["prepull"] if hosts["prepull"] else [])),
            extra_vars={
                "registry_push": "none",
                "prepull_images": list(self.found.images.references),
                "llmprov_hosts": {stage: ",".join(names) or _NOBODY for stage, names in hosts.items()},
            },
            check=self.request.check,
            diff=self.request.check,
            verbosity=self.request.verbosity,
        )

    def _prepulling(self) -> tuple[str, ...]:
        """Return the GPU workers that are on their way into the cluster: theirs is the pull that is waited for."""
        wanted = any(stage.name == "models" for stage in _stages(self.request))
        joined = {probe.host for probe in self.found.probes if probe.joined}
        joining = set(self.work.get("worker", ())) - joined
        return tuple(host.name for host in self.cluster.gpu_workers if wanted and host.name in joining)

    def _no_members(self) -> frozenset[str]:
        joined = {probe.host for probe in self.found.probes if probe.joined}
        joined |= {host for stage in _JOINING for host in self.work.get(stage, ())}
        return frozenset(host.name for host in self.cluster.hosts if host.name not in joined - self.quarantine.names)

    def _untouched(self) -> RunResult:
        return self._with_untouched(RunResult(rc=0, seconds=0.0, hosts=(), journal=self.journal.path))

    def _with_untouched(self, result: RunResult) -> RunResult:
        """Add the chosen hosts on which nothing ran."""
        seen = {outcome.host for outcome in result.hosts}
        chosen = dict.fromkeys(item.host for item in self.found.plan.stages)
        return result.plus(HostOutcome(name) for name in chosen if name not in seen)

    def _say_drift(self) -> None:
        drifted = [item for item in self.found.plan.stages if item.verdict is Verdict.DRIFTED]
        if drifted and not self.request.repair_drift:
            paths_of = [f"{item.host}:{drift.path}" for item in drifted for drift in item.drifts]
            self.progress.note(
                f"changed by somebody else and left as they are: {', '.join(paths_of)} "
                "(llmprov plan --diff shows how, install --repair-drift brings them back)"
            )


def _record(journal: Journal, plan: Plan) -> None:
    """Journal why each stage is run."""
    for item in plan.stages:
        if item.verdict is not Verdict.IN_SYNC:
            why = [*item.reasons, *(drift.path for drift in item.drifts)]
            journal.record(
                "plan", host=item.host, stage=item.stage, verdict=str(item.verdict), reasons="; ".join(why) or None
            )
