"""How hosts, nodes and models are doing; read-only, and as complete as what still answers allows."""

from concurrent.futures import ThreadPoolExecutor

from llmprov import ssh
from llmprov.cluster.client import Cluster
from llmprov.cluster.nodes import node_states
from llmprov.cluster.objects import DEPLOYMENT, EVENT, POD, Event, Pod
from llmprov.cluster.pods import activity, failure, utc_now
from llmprov.cluster.workloads import Deployment
from llmprov.errors import HostConnectionError, LlmprovError
from llmprov.inventory import Host, Inventory
from llmprov.manifests.model import MODEL_LABEL, NAMESPACE
from llmprov.observability.values import Alert
from llmprov.progress import Progress
from llmprov.stages import RECORD_DIRECTORY
from llmprov.states import HostState, ModelState, Status
from llmprov.workflows import gateway_access, monitoring
from llmprov.workflows.chat import SERVED_NAME
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.models import endpoint

_AT_ONCE = 32
_PATIENCE = 5.0


def status(inventory: Inventory, progress: Progress) -> Status:
    """Look at hosts and cluster; what does not answer is a finding, not an error."""
    with progress.step("status", inventory.settings.name), ThreadPoolExecutor(_AT_ONCE) as pool:
        hosts = pool.map(_host, inventory.hosts)
        name = inventory.settings.name
        try:
            with open_cluster(inventory, patience=_PATIENCE) as cluster:
                version, nodes, models = cluster.version(), node_states(cluster), model_states(cluster, inventory)
                endpoint = gateway_access.base_url(inventory) if gateway_access.present(cluster) else ""
                alerts, monitoring = _alerts(cluster)
        except LlmprovError as error:
            return Status(name, "", tuple(hosts), (), (), problem=_sentence(error))
        return Status(name, version, tuple(hosts), nodes, models, "", endpoint, alerts, monitoring)


def model_states(cluster: Cluster, inventory: Inventory) -> tuple[ModelState, ...]:
    """Return every model that is deployed, and those of the inventory that are not yet."""
    listed = cluster.list(DEPLOYMENT, NAMESPACE, selector=MODEL_LABEL).items
    pods = replica_pods(cluster, MODEL_LABEL)
    events = [Event.model_validate(item) for item in cluster.list(EVENT, NAMESPACE).items]
    states = {
        state.name: state for state in (_model(Deployment.model_validate(i), pods, events, inventory) for i in listed)
    }
    for model in inventory.models:
        missing = ModelState(model.name, model.public_name, 0, model.replicas.min, "", "", None, ("not deployed",))
        states.setdefault(model.name, missing)
    return tuple(states[name] for name in sorted(states))


def replica_pods(cluster: Cluster, selector: str) -> list[Pod]:
    """Return the pods that are replicas of models, by name; one that has ended is none any more."""
    pods = map(Pod.model_validate, cluster.list(POD, NAMESPACE, selector=selector).items)
    return sorted((pod for pod in pods if not pod.ended), key=lambda pod: pod.metadata.name)


def _alerts(cluster: Cluster) -> tuple[tuple[Alert, ...], str]:
    """Return what fires, or why that is not known."""
    try:
        return monitoring.firing(cluster), ""
    except LlmprovError as error:
        return (), _sentence(error)


def finished_stages(listing: str) -> tuple[str, ...]:
    """Read the names of finished stages from a listing of records, `SECONDS STAGE.json` a line, in order of time.

    Raises:
        ValueError: a line is none of such a listing.
    """
    rows = [line.partition(" ") for line in listing.splitlines()]
    return tuple(name.removesuffix(".json") for _, _, name in sorted(rows, key=lambda row: float(row[0])))


def _host(host: Host) -> HostState:
    # Records themselves are root's: their inputs are digests of secrets, too. Names and times need no sudo.
    command = ("find", RECORD_DIRECTORY, "-name", "*.json", "-printf", r"%T@ %f\n")
    try:
        found = ssh.run(host.ssh, command, timeout=30)
        stages = finished_stages(found.stdout.decode(errors="replace"))
    except HostConnectionError as error:
        return HostState(host.name, host.address, reachable=False, problem=_sentence(error))
    except ValueError as error:
        return HostState(host.name, host.address, reachable=True, problem=f"{RECORD_DIRECTORY}: {error}")
    return HostState(host.name, host.address, reachable=True, stages=stages)


def _model(deployment: Deployment, pods: list[Pod], events: list[Event], inventory: Inventory) -> ModelState:
    name = deployment.metadata.name
    mine = [pod for pod in pods if pod.metadata.labels.get(MODEL_LABEL) == name]
    image = next((container.image for pod in mine for container in pod.spec.containers), "")
    return ModelState(
        name=name,
        served_name=deployment.metadata.annotations.get(SERVED_NAME, name),
        ready=deployment.status.ready_replicas,
        wanted=deployment.spec.replicas,
        image=image,
        endpoint=endpoint(name, inventory),
        created=deployment.metadata.creation_timestamp,
        replicas=tuple(_replica(pod, [e for e in events if e.involved_object.uid == pod.metadata.uid]) for pod in mine),
    )


def _replica(pod: Pod, events: list[Event]) -> str:
    lost = failure(pod, events, utc_now())
    doing = lost.reason if lost else activity(pod, events, utc_now())
    return f"{pod.spec.node_name}: {doing.replace(f' on {pod.spec.node_name}', '')}" if pod.spec.node_name else doing


def _sentence(error: LlmprovError) -> str:
    return error.message + (f"; {error.remedy}" if error.remedy else "")
