"""API keys and the gateway's certificate: the value alone on standard output, so that it can be piped."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from llmprov.report.console import err, out
from llmprov.states import ApiKey


def print_key(key: ApiKey, *, as_json: bool) -> None:
    """Print a key and nothing else."""
    if as_json:
        out.print_json(json.dumps(asdict(key)))
        return
    print_text(key.key)


def print_keys(keys: Sequence[ApiKey], *, as_json: bool) -> None:
    """Print the names of keys, and the models that each may use; in JSON null stands for all."""
    if as_json:
        out.print_json(json.dumps([{"name": k.name, "created": k.created, "models": k.models} for k in keys]))
        return
    table = Table(title="API keys", title_justify="left")
    for column in ("name", "created (UTC)", "models"):
        table.add_column(column)
    for key in keys:
        table.add_row(key.name, key.created.partition("+")[0].replace("T", " ") or "-", _models(key))
    out.print(table)


def print_allowed(key: ApiKey) -> None:
    """Say what a key may use from now on."""
    err.print(f"{key.name} may use within seconds: {_models(key)}")


def print_revoked(name: str) -> None:
    """Say that a key is no longer good."""
    err.print(f"revoked {name}: the gateway refuses it within seconds")


def print_text(text: str) -> None:
    """Print text as it is; no markup, no wrapping."""
    sys.stdout.write(text.rstrip("\n") + "\n")


def _models(key: ApiKey) -> str:
    return "all" if key.models is None else ", ".join(key.models) or "none"
