"""One operator at a time over both locks: what is taken, kept, lost and given back."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from llmprov.cluster import transport
from llmprov.cluster.client import Cluster
from llmprov.errors import BusyError, ClusterError, HostConnectionError
from llmprov.holders import TAKEOVER_SECONDS, Holder, Process
from llmprov.progress import NullProgress
from llmprov.ssh import RemoteResult
from llmprov.workflows import lock as module
from llmprov.workflows.host_lock import HostLock
from llmprov.workflows.lock import ClusterLock, Operator, held
from tests.unit.cluster.conftest import cluster_at
from tests.unit.cluster.fakeapi import FakeApi, serve

KEY = ("coordination.k8s.io/v1/leases", "kube-system", "llmprov")
ELSEWHERE = Process(machine="other", boot="other", pid=4711, started=99)


def holder(name: str) -> Holder:
    return Holder(user=name, host="ctl", verb="install", run_id=f"run-{name}", process=ELSEWHERE)


ANNA, BEN = holder("anna"), holder("ben")


class Notes(NullProgress):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


class Site:
    """A host and a cluster that can be away."""

    def __init__(self, directory: Path, api: FakeApi) -> None:
        self.directory = directory
        self.api = api
        self.host_is_up = True
        self.cluster_is_up = True
        self.asked = threading.Event()

    def run(self, argv: list[str], stdin: bytes) -> RemoteResult:
        self.asked.set()
        if not self.host_is_up:
            raise HostConnectionError("cp1: unreachable over SSH", remedy="ssh cp1")
        command = [sys.executable, *argv[argv.index("python3") + 1 :]]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
        return RemoteResult(done.returncode, done.stdout, done.stderr.decode())

    def renew(self) -> str:
        return self.api.url

    @contextmanager
    def connect(self) -> Iterator[Cluster]:
        if not self.cluster_is_up:
            raise ClusterError("cp1 is no control plane yet", remedy="run `llmprov install` first")
        yield self.cluster()

    def cluster(self) -> Cluster:
        return cluster_at(self.api.url, self, patience=0.1)

    def hold(self, who: Holder, notes: Notes | None = None) -> AbstractContextManager[Operator]:
        host = HostLock("cp1", self.run, directory=str(self.directory))
        return held(who, (host, ClusterLock(self.connect)), notes or Notes())

    @property
    def host_holder(self) -> str:
        path = self.directory / "lock.json"
        return path.read_text() if path.exists() else ""

    @property
    def lease_holder(self) -> str:
        return str(self.api.objects[KEY]["spec"]["holderIdentity"]) if KEY in self.api.objects else ""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(transport, "_PAUSE", 0.01)
    api = FakeApi()
    with serve(api):
        yield Site(tmp_path / "operator", api)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.05)


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(400):
        if condition():
            return
        pause.wait(0.05)
    pytest.fail("it did not come to pass")


def test_both_are_held_and_given_back(site: Site) -> None:
    with site.hold(ANNA) as operator:
        assert "run-anna" in site.host_holder
        assert site.lease_holder == ANNA.identity
        operator.check()
        with pytest.raises(BusyError, match="anna@ctl is working"), site.hold(BEN):
            pass
    assert (site.host_holder, site.lease_holder) == ("", "")


def test_without_an_api_the_host_is_enough_until_there_is_one(site: Site) -> None:
    site.cluster_is_up = False
    with site.hold(ANNA) as operator:
        assert site.lease_holder == ""
        site.cluster_is_up = True
        operator.cluster_is_up(site.cluster())
        operator.cluster_is_up(site.cluster())
        assert site.lease_holder == ANNA.identity
    assert (site.host_holder, site.lease_holder) == ("", "")


@pytest.mark.usefixtures("quick")
def test_an_api_that_appears_is_noticed_by_itself(site: Site) -> None:
    site.cluster_is_up = False
    with site.hold(ANNA):
        site.cluster_is_up = True
        until(lambda: site.lease_holder == ANNA.identity)


def test_an_unreachable_host_leaves_the_lease(site: Site) -> None:
    site.host_is_up = False
    with site.hold(ANNA):
        site.host_is_up = True
        with pytest.raises(BusyError, match="anna@ctl is working") as caught, site.hold(BEN):
            pass
        assert caught.value.details[1] == "lock: Lease kube-system/llmprov"
        assert site.host_holder == ""


def test_with_neither_the_connections_error_is_raised(site: Site) -> None:
    site.host_is_up = site.cluster_is_up = False
    with pytest.raises(HostConnectionError, match="cp1: unreachable"), site.hold(ANNA):
        pass


@pytest.mark.usefixtures("quick")
def test_it_is_renewed(site: Site) -> None:
    with site.hold(ANNA) as operator:
        before, lease = site.host_holder, site.api.objects[KEY]["spec"]["renewTime"]
        site.api.clock += timedelta(seconds=2)
        until(lambda: site.host_holder != before and site.api.objects[KEY]["spec"]["renewTime"] > lease)
        assert not operator.lost.is_set()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("where", ["host", "cluster"])
def test_who_was_taken_over_stops(site: Site, where: str) -> None:
    def work() -> None:
        with site.hold(ANNA) as operator:
            _swap(site, where)
            assert operator.lost.wait(10)
            with pytest.raises(BusyError, match="has taken over this cluster"):
                operator.check()

    with pytest.raises(BusyError, match="has taken over this cluster"):
        work()
    assert ("run-ben" in site.host_holder) if where == "host" else (site.lease_holder == BEN.identity)


def _swap(site: Site, where: str) -> None:
    """Put somebody else into a lock, whole, as its program does; again where a renewal came between."""
    if where == "cluster":
        taken = site.api.objects[KEY]
        spec = {**taken["spec"], "holderIdentity": BEN.identity, "renewTime": "2999-01-01T00:00:00.000000Z"}
        site.api.put({**taken, "spec": spec})
        return
    path = site.directory / "lock.json"
    new = path.with_name("new")
    while "run-ben" not in path.read_text():
        new.write_text(path.read_text().replace("anna", "ben"))
        new.replace(path)


@pytest.mark.usefixtures("quick")
def test_work_that_was_stopped_by_the_loss_says_why(site: Site) -> None:
    def work() -> None:
        with site.hold(ANNA) as operator:
            _swap(site, "host")
            assert operator.lost.wait(10)
            raise KeyboardInterrupt  # as the runner does when `lost` is its signal to stop

    with pytest.raises(BusyError, match="has taken over this cluster"):
        work()


def test_after_a_sleep_the_locks_are_asked_before_the_work_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        with site.hold(ANNA) as operator:
            _swap(site, "host")
            operator.check()  # just renewed: not asked
            now = module._now()
            monkeypatch.setattr(module, "_now", lambda: now + 3600)
            with pytest.raises(BusyError, match="has taken over"):
                operator.check()

    with pytest.raises(BusyError, match="has taken over"):
        work()


@pytest.mark.usefixtures("quick")
def test_a_host_that_is_away_for_a_while_is_no_loss_and_is_said_once(site: Site) -> None:
    notes = Notes()
    with site.hold(ANNA, notes) as operator:
        site.host_is_up = False
        for _ in range(3):
            site.asked.clear()
            assert site.asked.wait(10)
        site.host_is_up = True
        before = site.host_holder
        until(lambda: site.host_holder != before)
        assert not operator.lost.is_set()
    assert len([line for line in notes.lines if "cannot be renewed" in line]) == 1
    assert site.host_holder == ""


def test_a_cluster_that_the_work_removed_is_not_waited_for(site: Site) -> None:
    notes = Notes()
    with site.hold(ANNA, notes):
        site.cluster_is_up = False
        site.api.faults = [503] * 50
    assert site.host_holder == ""
    assert any("Lease kube-system/llmprov could not be given back" in line for line in notes.lines)


def test_an_abandoned_lock_is_taken_over_with_a_note(site: Site) -> None:
    host = HostLock("cp1", site.run, directory=str(site.directory))
    host.take(BEN)
    ClusterLock(site.connect).take(BEN)
    path = site.directory / "lock.json"
    path.write_text(path.read_text().replace('"renewed": ', f'"renewed": -{TAKEOVER_SECONDS}'))
    site.api.clock += timedelta(seconds=TAKEOVER_SECONDS + 5)
    notes = Notes()
    with site.hold(ANNA, notes):
        assert site.lease_holder == ANNA.identity
    assert len(notes.lines) == 2
    assert all("took over the lock of ben@ctl" in line for line in notes.lines)


def test_of_many_operators_one_works(site: Site) -> None:
    start, inside = threading.Barrier(6), []
    ended = threading.Barrier(6)

    def work(name: str) -> None:
        start.wait()
        try:
            with site.hold(holder(name)):
                inside.append(name)
                ended.wait(30)
        except BusyError:
            ended.wait(30)

    threads = [threading.Thread(target=work, args=(f"u{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inside) == 1
