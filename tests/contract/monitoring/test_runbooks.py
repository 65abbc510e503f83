"""Every alert has a page that says what to do, with commands that exist."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from llmprov.cli.main import app
from llmprov.observability.rules import alerts
from llmprov.observability.values import RUNBOOKS, Objectives
from llmprov.paths import content_root

DIRECTORY = content_root() / RUNBOOKS
ALERTS = sorted({rule.name for rule in alerts(Objectives(), ())})
SECTIONS = ["What it means", "Impact", "How to look", "How to fix"]


def page(name: str) -> str:
    return (DIRECTORY / f"{name}.md").read_text(encoding="utf-8")


def test_there_is_a_page_for_each_alert_and_for_nothing_else() -> None:
    assert sorted(file.stem for file in DIRECTORY.glob("*.md") if file.stem != "README") == ALERTS


@pytest.mark.parametrize("name", ALERTS)
def test_page_has_its_sections(name: str) -> None:
    assert page(name).startswith(f"# {name}\n")
    found = re.findall(r"^## (.*)$\n\n(.+)$", page(name), re.MULTILINE)
    assert [title for title, _ in found] == SECTIONS


@pytest.mark.parametrize("name", [*ALERTS, "README"])
def test_commands_exist(name: str) -> None:
    root = get_command(app)
    context = root.make_context("llmprov", [], resilient_parsing=True)
    verbs = set(root.list_commands(context))  # type: ignore[attr-defined]
    for verb, sub in re.findall(r"llmprov ([a-z]+)(?: ([a-z]+))?", page(name)):
        if verb in {
            "status",
            "model",
            "install",
            "bundle",
            "key",
            "gateway",
            "preflight",
            "lab",
            "chat",
            "init",
            "reset",
        }:
            command = root.get_command(context, verb)  # type: ignore[attr-defined]
            if hasattr(command, "list_commands") and sub:
                assert sub in command.list_commands(context), f"llmprov {verb} {sub}"
            assert verb in verbs


@pytest.mark.parametrize("name", [*ALERTS, "README"])
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page(name)):
        assert Path(DIRECTORY, target).exists(), target


def test_documentation_lists_every_alert() -> None:
    text = (content_root() / "docs" / "monitoring.md").read_text(encoding="utf-8")
    for name in ALERTS:
        assert f"[{name}](runbooks/{name}.md)" in text
