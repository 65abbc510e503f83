"""What the journal says of a run's process and of tasks that ran on other hosts than theirs."""

import json
import os
from pathlib import Path

import pytest

from llmprov import runner
from llmprov.holders import Process
from llmprov.runner import Journal, Options
from llmprov.runner.journal import read

DELEGATES = """
- name: Delegates
  hosts: a
  gather_facts: false
  tasks:
    - {name: Own, ansible.builtin.debug: {msg: x}}
    - {name: Once, ansible.builtin.debug: {msg: x}, delegate_to: b}
    - {name: Loop, ansible.builtin.debug: {msg: x}, delegate_to: "{{ item }}", loop: [b, c, b]}
    - {name: Fail, ansible.builtin.fail: {msg: no}, delegate_to: b, ignore_errors: true}
"""


@pytest.mark.parametrize("strategy", ["linear", ""])
def test_delegated_tasks_name_where_they_ran(tmp_path: Path, inventory: Path, strategy: str) -> None:
    playbook = tmp_path / "play.yml"
    playbook.write_text(DELEGATES, encoding="utf-8")
    text = "all: {vars: {ansible_connection: local}, hosts: {a: null, b: null, c: null}}\n"
    (inventory / "hosts.yml").write_text(text, encoding="utf-8")
    result = runner.run(playbook, inventory, Options(strategy=strategy))
    results = [event for event in read(result.journal) if event["event"] == "result"]
    assert {event["task"]: event.get("delegated_to") for event in results} == {
        "Own": None,
        "Once": "b",
        "Loop": "b,c",
        "Fail": "b",
    }
    assert {event["host"] for event in results} == {"a"}


def test_the_start_names_process_and_inventory() -> None:
    journal = Journal.create("install")
    with journal.whole_run("install", Path("inventories/rack")):
        start = json.loads(journal.path.read_text(encoding="utf-8"))
    assert (start["event"], start["verb"], start["inventory"]) == ("start", "install", "inventories/rack")
    process = Process(start["machine"], start["boot"], start["pid"], start["process_started"])
    assert process == Process.current()
    assert start["pid"] == os.getpid()
    assert start["process_started"] > 0
