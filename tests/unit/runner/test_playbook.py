"""The runner against real playbooks: outcomes, events, failures, privacy, interruption."""

import json
import signal
import stat
import threading
from pathlib import Path

import pytest

from llmprov import runner
from llmprov.errors import HostConnectionError, InstallError
from llmprov.runner import Kind, Options, RunEvent, Status, environment, processes
from llmprov.runner.journal import read
from llmprov.runner.playbook import stages_by_play

TWO_STAGES = """
- name: Base of all hosts
  hosts: all
  gather_facts: false
  tags: [base]
  tasks:
    - name: Say
      ansible.builtin.debug: {msg: hello}
    - name: Hide
      ansible.builtin.debug: {msg: "{{ lookup('env', 'HIDDEN_VALUE') }}"}
      changed_when: true
      no_log: true
    - name: Break
      ansible.builtin.fail: {msg: "disk is full, 0 GB left"}
      when: inventory_hostname == breaks | default('')
- name: Runtime of all hosts
  hosts: all
  gather_facts: false
  tags: runtime
  tasks:
    - name: Look
      ansible.builtin.debug: {msg: "{{ looked | default('none') }}"}
"""


def _write(tmp_path: Path, text: str) -> Path:
    playbook = tmp_path / "play.yml"
    playbook.write_text(text, encoding="utf-8")
    return playbook


@pytest.mark.parametrize("strategy", ["linear", ""])
def test_outcomes_stages_and_collected_results(tmp_path: Path, inventory: Path, strategy: str) -> None:
    events: list[RunEvent] = []
    options = Options(collect=("Look",), extra_vars={"looked": "here"}, strategy=strategy)
    result = runner.run(_write(tmp_path, TWO_STAGES), inventory, options, on_event=events.append)
    assert result.ok
    assert {outcome.host: (outcome.ok, outcome.changed) for outcome in result.hosts} == {"a": (3, 1), "b": (3, 1)}
    assert {host: value["msg"] for host, value in result.returned("Look").items()} == {"a": "here", "b": "here"}
    ends = [(event.stage, sorted(event.hosts)) for event in events if event.kind is Kind.PLAY_END]
    assert ends == [("base", ["a", "b"]), ("runtime", ["a", "b"])]
    assert result.changed == 2


def test_limit_tags_and_check(tmp_path: Path, inventory: Path) -> None:
    options = Options(limit="b", tags=("runtime",), check=True, diff=True)
    lines: list[str] = []
    result = runner.run(_write(tmp_path, TWO_STAGES), inventory, options, on_output=lines.append)
    assert [(outcome.host, outcome.ok) for outcome in result.hosts] == [("b", 1)]
    assert any("Look" in line for line in lines)


def test_a_failed_task_names_host_stage_task_and_message(tmp_path: Path, inventory: Path) -> None:
    result = runner.run(_write(tmp_path, TWO_STAGES), inventory, Options(extra_vars={"breaks": "b"}))
    with pytest.raises(InstallError) as caught:
        result.raise_for_failures("install")
    assert caught.value.message == "install failed on 1 host: b"
    assert caught.value.details == ("b (stage base, task 'Break'): disk is full, 0 GB left",)
    assert str(result.journal) in caught.value.remedy
    assert [outcome.host for outcome in result.hosts if outcome.failure is None] == ["a"]


def test_a_rescued_failure_is_none(tmp_path: Path, inventory: Path) -> None:
    text = """
- name: Mend
  hosts: a
  gather_facts: false
  tasks:
    - name: Try
      block: [{ansible.builtin.fail: {msg: no}, name: Break}]
      rescue: [{ansible.builtin.debug: {msg: mended}, name: Mend}]
"""
    result = runner.run(_write(tmp_path, text), inventory)
    assert result.ok
    assert [event["status"] for event in read(result.journal) if event["event"] == "result"] == ["failed", "ok"]


def test_an_unreachable_host_is_a_connection_error(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yml"
    hosts.write_text(
        "all: {hosts: {c: {ansible_host: 127.0.0.1, ansible_port: 1, ansible_ssh_common_args: '-F /dev/null'}}}\n",
        encoding="utf-8",
    )
    text = "- {name: P, hosts: all, gather_facts: false, tasks: [{name: Ping, ansible.builtin.ping: null}]}\n"
    result = runner.run(_write(tmp_path, text), hosts, Options(strategy="linear"))
    assert result.hosts[0].unreachable
    with pytest.raises(HostConnectionError, match="failed on 1 host: c") as caught:
        result.raise_for_failures("install")
    assert "refused" in caught.value.details[0]


def test_a_playbook_that_ansible_refuses_shows_its_words(tmp_path: Path, inventory: Path) -> None:
    result = runner.run(_write(tmp_path, "- {name: P, hosts: all, no_such_key: 1}\n"), inventory)
    with pytest.raises(InstallError, match="before it reached a host") as caught:
        result.raise_for_failures("install")
    assert any("no_such_key" in line for line in caught.value.details)


def test_an_unreadable_playbook_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"absent\.yml"):
        stages_by_play(tmp_path / "absent.yml")


def test_nothing_secret_stays_behind(tmp_path: Path, inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDDEN_VALUE", "correct-horse")
    result = runner.run(_write(tmp_path, TWO_STAGES), inventory)
    kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert kept == [result.journal]
    assert "correct-horse" not in result.journal.read_text(encoding="utf-8")
    assert stat.S_IMODE(result.journal.stat().st_mode) == 0o600
    assert stat.S_IMODE(result.journal.parent.stat().st_mode) == 0o700


def test_the_users_ansible_settings_do_not_reach_the_run(
    tmp_path: Path, inventory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\nstrategy = no_such_strategy\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_STRATEGY", "no_such_strategy")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert runner.run(_write(tmp_path, TWO_STAGES), inventory).ok


WAIT = """
- name: Wait
  hosts: a
  gather_facts: false
  tags: [base]
  tasks:
    - name: Block
      ansible.builtin.command: sleep 60
"""


def test_stopping_ends_every_process(tmp_path: Path, inventory: Path) -> None:
    stop = threading.Event()
    started: list[Path] = []

    def on_event(event: RunEvent) -> None:
        if event.kind is Kind.START:
            started.extend((tmp_path / "state").rglob("ansible-*"))
            stop.set()

    with pytest.raises(KeyboardInterrupt):
        runner.run(_write(tmp_path, WAIT), inventory, on_event=on_event, stop=(stop,))
    assert len(started) == 1
    assert processes.of_run(started[0]) == []
    assert not started[0].exists()


def test_ctrl_c_ends_the_run_and_the_next_one_completes(tmp_path: Path, inventory: Path) -> None:
    def on_event(event: RunEvent) -> None:
        if event.kind is Kind.START:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        runner.run(_write(tmp_path, WAIT), inventory, on_event=on_event)
    assert runner.run(_write(tmp_path, TWO_STAGES), inventory).ok


def test_statuses_reach_the_listener(tmp_path: Path, inventory: Path) -> None:
    seen: list[Status | None] = []
    runner.run(
        _write(tmp_path, TWO_STAGES), inventory, Options(limit="a"), on_event=lambda event: seen.append(event.status)
    )
    assert [status for status in seen if status] == [Status.OK, Status.OK, Status.SKIPPED, Status.OK]


def test_memory_of_the_controller_is_measured(tmp_path: Path, inventory: Path) -> None:
    result = runner.run(_write(tmp_path, TWO_STAGES), inventory)
    assert 0 < result.peak_memory < 300_000_000


def test_journal_lines_are_whole_objects(tmp_path: Path, inventory: Path) -> None:
    result = runner.run(_write(tmp_path, TWO_STAGES), inventory)
    with result.journal.open("a", encoding="utf-8") as stream:
        stream.write('{"cut": ')
    events = list(read(result.journal))
    assert {event["event"] for event in events} == {"play", "play_end", "result", "host"}
    assert all(json.dumps(event) for event in events)
    assert result.journal.parent.parent == tmp_path / "state" / "runs"


def test_running_without_mitogen_is_said(tmp_path: Path, inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "choose_strategy", lambda _: environment.Strategy("linear", note="no mitogen"))
    events: list[RunEvent] = []
    assert runner.run(_write(tmp_path, TWO_STAGES), inventory, on_event=events.append).ok
    assert [event.message for event in events if event.kind is Kind.OUTPUT] == ["no mitogen"]
