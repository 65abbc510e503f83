"""The `auto` choice: upstream where it answers, the registries catalog for the rest, and a note for each."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import requests

from llmprov.bundle.build import Artifact, Workshop, cached, closure, raise_failures, run, unavailable
from llmprov.bundle.builders.aptrepository import AptRepository
from llmprov.bundle.builders.debian import PackagesSource
from llmprov.bundle.catalog import Built
from llmprov.bundle.catalog_file import Catalog
from llmprov.bundle.download import new_session
from llmprov.bundle.graph import Outcome
from llmprov.bundle.upstream import ArchiveSource, OciSource, UrlSource
from llmprov.errors import BundleError

# One try, seconds to connect and to answer: a decision, not a download.
_PROBE_TIMEOUT = (3.0, 5.0)


def build_auto(
    workshop: Workshop, upstream: Catalog, registries: Catalog, names: tuple[str, ...]
) -> tuple[Artifact, ...]:
    """Build each artifact from upstream if that can be had, else from the registries catalog.

    Only what is unavailable falls back, or is left out when it is optional. A wrong checksum is an error.
    """
    wanted = tuple(name for name in names if name in upstream.by_name)
    reasons = _unreachable(workshop, upstream, wanted)
    first = run(workshop, upstream, tuple(name for name in wanted if name not in reasons))
    gone = unavailable(first)
    raise_failures(_without(first, set(gone)))
    reasons |= {name: why for name, why in gone.items() if name in wanted}
    missing = [name for name in names if name not in first.done]
    fallback = tuple(name for name in missing if name in registries.by_name)
    dropped = {name for name in missing if name not in fallback and upstream.by_name[name].optional}
    _note(workshop, {name: why for name, why in reasons.items() if name in fallback}, "from the registries catalog")
    _note(workshop, {name: why for name, why in reasons.items() if name in dropped}, "left out")
    if absent := [name for name in missing if name not in fallback and name not in dropped]:
        raise BundleError(
            f"{len(absent)} artifacts are out of reach and not in the {registries.name} catalog",
            remedy="check the network and proxy settings of this machine",
            details=tuple(f"{name}: {reasons.get(name, 'in no catalog')}" for name in absent),
        )
    second = run(workshop, registries, fallback)
    raise_failures(second)
    chosen = [Artifact.of(upstream, n, b) for n, b in first.done.items() if n in wanted]
    return (*chosen, *(Artifact.of(registries, n, second.done[n]) for n in fallback))


def _unreachable(workshop: Workshop, catalog: Catalog, names: tuple[str, ...]) -> dict[str, str]:
    """Artifacts that are not cached and whose servers do not answer, with the reason."""
    open_names = [name for name in names if cached(workshop, catalog, name) is None]
    urls = {name: {url for need in closure(catalog, (name,)) for url in _urls(catalog, need)} for name in open_names}
    servers = sorted({url for wanted in urls.values() for url in wanted})
    with workshop.progress.step("upstream", f"asking {len(servers)} servers"), ThreadPoolExecutor(8) as pool:
        answers = dict(zip(servers, pool.map(_problem, servers), strict=True))
    return {
        name: why
        for name, wanted in urls.items()
        if (why := next((answers[u] for u in sorted(wanted) if answers[u]), ""))
    }


def _urls(catalog: Catalog, name: str) -> list[str]:
    match catalog.by_name[name].source:
        case UrlSource() as source:
            return [_server(source.url)]
        case ArchiveSource() as source:
            return [_server(item.url) for item in source.archives]
        case OciSource() as source:
            return [f"{source.image.base_url}/v2/"]
        case PackagesSource(repository=AptRepository() as repository):
            return [_server(repository.url)]
    return []


def _server(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"


def _problem(server: str) -> str:
    """Why a server cannot be used, or an empty string; any answer that is not a proxy's refusal will do."""
    host = urlsplit(server).netloc
    try:
        with new_session().get(server, stream=True, timeout=_PROBE_TIMEOUT, allow_redirects=False) as response:
            code = response.status_code
    except requests.RequestException as error:
        return f"{host} does not answer ({type(error).__name__})"
    refused = code in {requests.codes.forbidden, requests.codes.proxy_authentication} or code >= 500  # noqa: PLR2004
    return f"{host} answers HTTP {code}" if refused else ""


def _without(outcome: Outcome[Built], names: set[str]) -> Outcome[Built]:
    return Outcome(
        done=outcome.done,
        failed={name: error for name, error in outcome.failed.items() if name not in names},
        skipped={name: blocker for name, blocker in outcome.skipped.items() if name not in names},
    )


def _note(workshop: Workshop, reasons: dict[str, str], outcome: str) -> None:
    by_reason: dict[str, list[str]] = {}
    for name, why in sorted(reasons.items()):
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        workshop.progress.note(f"{', '.join(names)}: {outcome}, since {why}")
