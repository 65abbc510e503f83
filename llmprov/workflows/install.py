"""From bare hosts to models that answer.

The critical path is the pull of the engine's image and the start of the engine; everything else runs beside it:

    inventory → bundle → preflight → hosts (Ansible, stage by stage) → objects (network, GPUs, models) → ready
                                   └ push: files, engine, the rest ─ pull on the GPU workers ┘
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from llmprov import inventory as inventories
from llmprov import paths, runner
from llmprov.bundle.lock import BundleLock
from llmprov.bundle.push import Selection
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.results import InstallResult, Objects, Pulled
from llmprov.runner import Journal, Options, RunEvent, RunResult, Status
from llmprov.stages import STAGES, Runner, Stage, stage_names, stages_until
from llmprov.workflows import preflight
from llmprov.workflows.host_steps import HostSteps
from llmprov.workflows.install_bundle import require_whole
from llmprov.workflows.install_images import Staged, pulls, staged_images
from llmprov.workflows.install_objects import apply_objects
from llmprov.workflows.phases import Phases
from llmprov.workflows.push_beside import PushBeside
from llmprov.workflows.push_job import PushJob
from llmprov.workflows.stations import station_images

_REGISTRY_SECONDS = 1800.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to install.

    Attributes:
        inventory: directory or hosts file.
        limit: only these hosts, an Ansible host pattern; empty for all.
        until: last stage; empty for all.
        check: change nothing, say what would change.
        preflight: check the hosts first.
        verbosity: of Ansible, 0 to 4.
    """

    inventory: Path
    limit: str = ""
    until: str = ""
    check: bool = False
    preflight: bool = True
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
    with journal.whole_run("install"):
        cluster = _inventory(request, phases, progress)
        with phases.phase("bundle"):
            lock = require_whole(cluster.settings.bundle_dir, progress)
            images = _images(request, cluster, lock)
        warnings = (*cluster.warnings, *_preflight(request, cluster, phases, progress))
        run = _Run(request, cluster, lock, images, journal, phases, progress)
        with PushBeside(run.push_job(), phases) as push:
            hosts, changes = run.hosts(push, on_output)
            objects = run.objects(push) if _reaches_objects(request) else None
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
        )


def _inventory(request: Request, phases: Phases, progress: Progress) -> Inventory:
    with phases.phase("inventory"):
        cluster = inventories.load(request.inventory)
    for warning in cluster.warnings:
        progress.note(warning)
    return cluster


def _preflight(request: Request, cluster: Inventory, phases: Phases, progress: Progress) -> tuple[str, ...]:
    """Check the hosts; return and say what somebody should know although it does not stop the install."""
    if not request.preflight:
        return ()
    with phases.timed("preflight"):
        report = preflight.run(cluster, progress, limit=request.limit)
    warnings = tuple(finding.line for finding in report.warnings)
    for warning in warnings:
        progress.note(warning)
    report.raise_for_errors()
    return warnings


def _images(request: Request, cluster: Inventory, lock: BundleLock) -> Staged:
    names = _names(request)
    return staged_images(cluster.models if "models" in names else (), lock, station_images(cluster, lock, names))


def _reaches_objects(request: Request) -> bool:
    return not request.check and any(stage.runner is Runner.PYTHON for stage in _stages(request))


def _stages(request: Request) -> tuple[Stage, ...]:
    return stages_until(request.until) if request.until else STAGES


@dataclass(frozen=True)
class _Run:
    """What the parts of one install share."""

    request: Request
    cluster: Inventory
    lock: BundleLock
    images: Staged
    journal: Journal
    phases: Phases
    progress: Progress

    def push_job(self) -> PushJob:
        """Return the push of all that hosts and pods need; it waits for the registry that the hosts' stages bring."""
        return PushJob.to_cluster(
            self.cluster, Selection(files=True, images=self.images.push_order), patience=_REGISTRY_SECONDS
        )

    def hosts(self, push: PushBeside, on_output: Callable[[str], None] | None) -> tuple[RunResult, tuple[str, ...]]:
        """Bring the hosts to Ready; what they fetch is pushed meanwhile."""
        steps = HostSteps(self.progress, self.phases)
        changes: list[str] = []
        if "registry" in _names(self.request) and not self.request.check:
            push.start()

        def follow(event: RunEvent) -> None:
            steps.take(event)
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
                    stop=push.failed,
                )
            except KeyboardInterrupt:
                if push.failed.is_set():
                    push.wait()  # says what went wrong
                raise
            result.raise_for_failures("install")
        return result, tuple(changes)

    def objects(self, push: PushBeside) -> Objects:
        """Bring network, GPUs and models to Ready."""
        return apply_objects(
            self.cluster,
            self.lock,
            stages=_names(self.request),
            push=push,
            phases=self.phases,
            progress=self.progress,
        )

    def pulls(self, objects: Objects | None) -> tuple[Pulled, ...]:
        """Ask the workers how long this run's pulls took, once models answer."""
        found = pulls(self.cluster.gpu_workers, within=self.phases.seconds) if objects is not None else ()
        for pulled in found:
            self.journal.record("pull", host=pulled.host, image=pulled.image, seconds=pulled.seconds)
        for start in objects.starts if objects is not None else ():
            self.journal.record("engine_start", node=start.node, pod=start.pod, seconds=start.seconds)
        return found

    def _options(self) -> Options:
        tags = tuple(name for name in _names(self.request) if name in stage_names(runner=Runner.ANSIBLE))
        stage_models = "models" in _names(self.request)
        return Options(
            limit=self.request.limit,
            tags=(*tags, "prepull") if stage_models else tags,
            extra_vars={
                "registry_push": "none",
                "prepull_images": list(self.images.references),
            },
            check=self.request.check,
            diff=self.request.check,
            verbosity=self.request.verbosity,
        )


def _names(request: Request) -> tuple[str, ...]:
    return tuple(stage.name for stage in _stages(request))
