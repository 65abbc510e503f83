"""Failures: the words of ssh, sudo and modules, sorted by what the user must do."""

import pytest

from llmprov.runner.events import Kind, RunEvent, Status, failure_message
from llmprov.runner.failures import Cause, classify, from_event, tidy


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("Failed to connect to the host via ssh: Host key verification failed.", Cause.HOST_KEY),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @ Permission denied", Cause.HOST_KEY),
        ("ops@10.77.0.21: Permission denied (publickey,password).", Cause.AUTHENTICATION),
        ("ssh: connect to host 10.77.0.9 port 22: No route to host", Cause.UNREACHABLE),
        ("EOF on stream; last 100 lines received:", Cause.UNREACHABLE),
        ("Incorrect sudo password", Cause.SUDO),
        ("error occurred on host h: sudo: a password is required", Cause.SUDO),
        ("/bin/sh: 1: /usr/bin/python3: not found", Cause.PYTHON),
    ],
)
def test_unreachable_hosts(message: str, cause: Cause) -> None:
    assert classify(message, unreachable=True) is cause


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("Missing sudo password", Cause.SUDO),
        ("Incorrect sudo password", Cause.SUDO),
        ("sudo: a password is required", Cause.SUDO),
        ("open /etc/kubernetes: permission denied", Cause.TASK),
        ("connection refused", Cause.TASK),
        ("the sudo package is required", Cause.TASK),
    ],
)
def test_failed_tasks(message: str, cause: Cause) -> None:
    assert classify(message, unreachable=False) is cause


def test_a_failure_is_one_line_with_place_and_remedy() -> None:
    event = RunEvent(
        kind=Kind.RESULT,
        host="gpu1",
        stage="base",
        task="Ping",
        status=Status.UNREACHABLE,
        message="@@@@@@\r\n@  WARNING: HOST IDENTIFICATION HAS CHANGED!  @\r\nHost key verification failed.\r\n",
    )
    failure = from_event(event)
    assert failure.line == (
        "gpu1 (stage base, task 'Ping'): WARNING: HOST IDENTIFICATION HAS CHANGED! / Host key verification failed."
    )
    assert "ssh-keygen -R gpu1" in failure.remedy


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"msg": "no space"}, "no space"),
        ({"msg": "non-zero return code", "stderr": "kubeadm: boom"}, "non-zero return code: kubeadm: boom"),
        ({"stdout": "only output"}, "only output"),
        ({"censored": "hidden"}, "its output is hidden (no_log)"),
        (
            {
                "results": [{"item": "a"}, {"item": "b", "failed": True, "msg": "bad"}],
                "msg": "One or more items failed",
            },
            "b: bad",
        ),
        ({}, "it gave no message"),
    ],
)
def test_module_messages(returned: dict[str, object], message: str) -> None:
    assert failure_message(returned) == message


def test_tidy_drops_noise() -> None:
    assert tidy("Warning: Permanently added 'x'\n\n  real words \n") == "real words"
