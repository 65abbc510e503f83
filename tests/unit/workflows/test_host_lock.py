"""The lock on a host: its program, run here as it runs there, by many at once."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from llmprov.errors import BusyError, HostConnectionError
from llmprov.holders import TAKEOVER_SECONDS, Holder, Process
from llmprov.ssh import RemoteResult
from llmprov.workflows import lock_script
from llmprov.workflows.host_lock import HostLock

ELSEWHERE = Process(machine="other", boot="other", pid=4711, started=99)


def holder(name: str) -> Holder:
    return Holder(user=name, host="ctl", verb="install", run_id=f"run-{name}", process=ELSEWHERE)


ANNA, BEN = holder("anna"), holder("ben")


def here(argv: list[str], stdin: bytes) -> RemoteResult:
    """Run it on this machine, without the sudo in front."""
    command = argv[argv.index("python3") :]
    done = subprocess.run([sys.executable, *command[1:]], input=stdin, capture_output=True, check=False)
    return RemoteResult(done.returncode, done.stdout, done.stderr.decode())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "operator"


@pytest.fixture
def make(directory: Path) -> Callable[[], HostLock]:
    return lambda: HostLock("cp1", here, directory=str(directory))


def rewrite(directory: Path, **changes: float) -> None:
    path = directory / lock_script.NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def age(directory: Path, seconds: float) -> None:
    """Let the lock be silent for so long."""
    rewrite(directory, renewed=time.clock_gettime(time.CLOCK_BOOTTIME) - seconds)


def test_take_renew_release(make: Callable[[], HostLock], directory: Path) -> None:
    lock = make()
    assert lock.take(ANNA) is None
    assert directory.stat().st_mode & 0o777 == 0o700
    first = json.loads((directory / lock_script.NAME).read_text())
    lock.renew(ANNA)
    second = json.loads((directory / lock_script.NAME).read_text())
    assert second["since"] == first["since"]
    assert second["renewed"] > first["renewed"]
    lock.release(ANNA)
    assert not directory.exists()
    assert make().take(BEN) is None


def test_who_comes_meanwhile_is_told_whom_to_wait_for(make: Callable[[], HostLock], directory: Path) -> None:
    make().take(ANNA)
    age(directory, 20)
    with pytest.raises(BusyError, match="anna@ctl is working on this cluster: install since") as caught:
        make().take(BEN)
    assert int(caught.value.exit_code) == 12
    assert "last sign of life 20 s ago" in caught.value.message
    assert "takes over in 41 s" in caught.value.remedy
    assert caught.value.details[0] == "run run-anna, process 4711"


@pytest.mark.parametrize("before", ["nobody", "abandoned"])
def test_of_many_processes_at_once_one_wins(make: Callable[[], HostLock], directory: Path, before: str) -> None:
    if before == "abandoned":
        make().take(holder("old"))
        age(directory, TAKEOVER_SECONDS + 1)

    def compete(number: int) -> bool:
        try:
            make().take(holder(f"u{number}"))
        except BusyError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(compete, range(16))) == 1


def test_taking_and_releasing_at_once_never_lets_two_in(make: Callable[[], HostLock], tmp_path: Path) -> None:
    """Each release removes the directory that others wait for."""
    inside = tmp_path / "inside"

    def compete(number: int) -> int:
        lock, me, times = make(), holder(f"u{number}"), 0
        for _ in range(4):
            try:
                lock.take(me)
            except BusyError:
                continue
            descriptor = os.open(inside, os.O_CREAT | os.O_EXCL)  # fails where somebody else is in
            os.close(descriptor)
            inside.unlink()
            lock.release(me)
            times += 1
        return times

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(compete, range(5))) > 0


def test_a_silent_holder_is_followed_and_notices(make: Callable[[], HostLock], directory: Path) -> None:
    anna, ben = make(), make()
    anna.take(ANNA)
    age(directory, TAKEOVER_SECONDS + 13)
    other = ben.take(BEN)
    assert other is not None
    assert other.takeover.startswith("took over the lock of anna@ctl (install, run run-anna), ")
    assert other.takeover.endswith("no sign of life for 1 min 13 s")
    with pytest.raises(BusyError, match="ben@ctl has taken over this cluster"):
        anna.renew(ANNA)
    anna.release(ANNA)
    with pytest.raises(BusyError, match="ben@ctl is working"):
        make().take(ANNA)
    ben.release(BEN)
    with pytest.raises(BusyError, match="and has finished"):
        anna.renew(ANNA)


def test_a_lock_that_a_reboot_cleared_is_made_again(
    make: Callable[[], HostLock], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = make()
    lock.take(ANNA)
    (directory / lock_script.NAME).unlink()
    directory.rmdir()
    monkeypatch.setattr(lock, "_boot", "an earlier one")
    lock.renew(ANNA)
    with pytest.raises(BusyError, match="anna@ctl is working"):
        make().take(BEN)


def test_a_killed_run_of_this_machine_is_followed_at_once(make: Callable[[], HostLock]) -> None:
    program = textwrap.dedent("""
        import signal, sys
        from llmprov.holders import Holder
        print(Holder.current("install", "run-killed").to_json(), flush=True)
        signal.pause()
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        victim = Holder.from_json(process.stdout.readline())
        make().take(victim)
        with pytest.raises(BusyError, match=f"{victim.user}@{victim.host} is working"):
            make().take(BEN)
        process.send_signal(signal.SIGKILL)
        # Not reaped yet: a zombie holds no lock.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        other = make().take(BEN)
    assert other is not None
    assert other.takeover.endswith(f"its process {victim.process.pid} is gone")


def test_only_what_is_surely_gone_is_gone() -> None:
    me = Process.current()
    assert not me.gone
    recycled = replace(me, started=me.started - 1)
    assert recycled.gone
    for unknown in (replace(recycled, machine="m"), replace(recycled, boot="b"), replace(recycled, started=0)):
        assert not unknown.gone
    assert replace(me, boot="b").of_earlier_boot
    assert not me.of_earlier_boot


def test_a_record_of_another_release_is_unknown_not_free(make: Callable[[], HostLock], directory: Path) -> None:
    make().take(ANNA)
    path = directory / lock_script.NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"holder": '["v9"]', "more": 1}))
    with pytest.raises(BusyError, match="unknown@unknown"):
        make().take(BEN)


def test_a_torn_file_holds_nobody(make: Callable[[], HostLock], directory: Path) -> None:
    directory.mkdir()
    (directory / lock_script.NAME).write_text('{"holder": ')
    assert make().take(ANNA) is None


def test_the_password_goes_by_input_and_the_request_does_not() -> None:
    calls: list[tuple[list[str], bytes]] = []

    def refuse(argv: list[str], stdin: bytes) -> RemoteResult:
        calls.append((argv, stdin))
        return RemoteResult(1, b"", "sudo: 1 incorrect password attempt")

    with pytest.raises(HostConnectionError, match=r"cp1: the lock .* cannot be worked with as root") as caught:
        HostLock("cp1", refuse, lambda: "hunter2").take(ANNA)
    assert caught.value.details == ("sudo: 1 incorrect password attempt",)
    argv, stdin = calls[0]
    assert argv[:2] == ["sudo", "-S"]
    assert stdin == b"hunter2\n"
    assert "hunter2" not in " ".join(argv)
