"""Exit codes, the exception and the printed report."""

import json

import pytest

from llmprov.errors import ExitCode, HostConnectionError, PreflightError
from llmprov.preflight import Finding, PreflightReport, Severity
from llmprov.report import preflight as report

UNREACHABLE = Finding("gpu1", "connection", "unreachable over SSH", "start it")
TAKEN = Finding("cp1", "ports", "port 6443 is taken by [x]", "stop it")
NOTED = Finding("", "mtu", "worth knowing", "look", Severity.WARNING)


def test_warnings_forbid_nothing() -> None:
    found = PreflightReport(("cp1",), (NOTED,))
    assert found.exit_code is ExitCode.OK
    found.raise_for_errors()


def test_connections_alone_have_their_own_exit_code() -> None:
    with pytest.raises(HostConnectionError) as caught:
        PreflightReport(("gpu1",), (UNREACHABLE, NOTED)).raise_for_errors()
    assert caught.value.exit_code is ExitCode.CONNECTION


def test_any_other_error_is_one_of_preflight() -> None:
    found = PreflightReport(("cp1", "gpu1"), (UNREACHABLE, TAKEN, NOTED))
    with pytest.raises(PreflightError) as caught:
        found.raise_for_errors()
    assert caught.value.exit_code is found.exit_code is ExitCode.PREFLIGHT
    assert caught.value.message == "preflight found 2 errors on cp1, gpu1"
    assert caught.value.details == (
        "gpu1: unreachable over SSH → start it",
        "cp1: port 6443 is taken by [x] → stop it",
    )


def test_text_has_errors_first_and_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_report(PreflightReport(("cp1", "gpu1"), (NOTED, TAKEN), 1.5), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "error cp1 ports: port 6443 is taken by [x]"
    assert lines[1] == "    → stop it"
    assert lines[2].startswith("warning all hosts mtu")
    assert lines[-1] == "not fit for installation: 2 hosts in 1.5 s, 1 error, 1 warning; nothing was changed"


def test_text_of_fit_hosts(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_report(PreflightReport(("cp1",), (), 1.0), as_json=False)
    assert capsys.readouterr().out == "fit for installation: 1 host in 1.0 s, nothing found\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_report(PreflightReport(("cp1",), (TAKEN,), 1.0), as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["fit"] is False
    assert document["exit_code"] == 4
    assert document["findings"][0]["severity"] == "error"
