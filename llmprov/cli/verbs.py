"""The verbs, imported when asked for: `llmprov lab ssh` need not wait for Ansible and the Kubernetes client."""

from importlib import import_module
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Callable

# In the order in which a newcomer needs them.
VERBS = (
    *("init", "inventory", "bundle", "preflight", "plan", "install", "status", "runs"),
    *("chat", "model", "node", "gateway", "key", "reset", "lab"),
)


class Verbs(TyperGroup):
    """A command whose subcommands are the modules of this package that are named in `VERBS`."""

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002 - the base class's signature
        """Return the verbs for the help page."""
        return list(VERBS)

    def get_command(self, ctx: object, cmd_name: str):  # type: ignore[no-untyped-def] # noqa: ANN201, ARG002 - typer's own private type
        """Import a verb; None when there is none of that name."""
        return _load(cmd_name) if cmd_name in VERBS else None


def _load(verb: str):  # type: ignore[no-untyped-def] # noqa: ANN202 - typer's own private type
    module = import_module(f"llmprov.cli.{verb}")
    group: typer.Typer | None = getattr(module, "app", None)
    if group is None:
        function: Callable[..., object] = getattr(module, verb)
        group = typer.Typer(add_completion=False)
        group.command(verb, context_settings=HELP_OPTIONS)(function)
    group.rich_markup_mode = None
    command = typer.main.get_command(group)
    command.name = verb
    return command


HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
