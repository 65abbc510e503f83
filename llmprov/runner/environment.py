"""The environment of ansible-playbook: ours alone, so that a user's ansible.cfg or shell cannot break a run."""

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmprov import paths

STRATEGY_VARIABLE = "LLMPROV_STRATEGY"
"""`linear` turns mitogen off: slower, but plain Ansible."""

_KEPT = (
    "ANSIBLE_VAULT_",
    "ANSIBLE_PRIVATE_KEY_FILE",
    "ANSIBLE_REMOTE_",
    "ANSIBLE_BECOME_",
    "ANSIBLE_SSH_",
    "ANSIBLE_TIMEOUT",
)
"""Who to log in as and how secrets are opened is the user's; everything else that Ansible reads is llmprov's."""


@dataclass(frozen=True)
class Strategy:
    """The strategy plugin of a run.

    Attributes:
        plugins: the directory that holds it; empty for Ansible's own.
        note: why it is not mitogen's, for the user; empty when it is, or when the user chose so.
    """

    name: str
    plugins: str = ""
    note: str = ""


def choose_strategy(wanted: str | None = None) -> Strategy:
    """Take mitogen's linear strategy, or Ansible's own where mitogen cannot be used or is not wanted."""
    wanted = wanted or os.environ.get(STRATEGY_VARIABLE, "")
    if wanted == "linear":
        return Strategy("linear")
    spec = importlib.util.find_spec("ansible_mitogen")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    plugins = Path(folders[0]) / "plugins" / "strategy" if folders else None
    if plugins is None or not (plugins / "mitogen_linear.py").is_file():
        return Strategy("linear", note="mitogen is not installed: tasks run with Ansible's own, slower strategy")
    return Strategy("mitogen_linear", str(plugins))


def build(base: Mapping[str, str], config: Path, strategy: Strategy, *, forks: int) -> dict[str, str]:
    """Make the whole environment of ansible-playbook.

    Args:
        base: the environment that llmprov was started with.
        config: an ansible.cfg of the run's own; it keeps Ansible from looking for others.
        strategy: see `choose_strategy`.
        forks: how many hosts are worked on at once.
    """
    root = paths.content_root()
    plugins = root / "plugins"
    kept = {key: value for key, value in base.items() if not key.startswith("ANSIBLE_") or key.startswith(_KEPT)}
    return kept | {
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_ROLES_PATH": str(root / "roles"),
        "ANSIBLE_LIBRARY": str(plugins / "modules"),
        "ANSIBLE_MODULE_UTILS": str(plugins / "module_utils"),
        "ANSIBLE_ACTION_PLUGINS": str(plugins / "action"),
        "ANSIBLE_LOOKUP_PLUGINS": str(plugins / "lookup"),
        "ANSIBLE_FILTER_PLUGINS": str(plugins / "filter"),
        "ANSIBLE_STRATEGY": strategy.name,
        "ANSIBLE_STRATEGY_PLUGINS": strategy.plugins,
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_FORKS": str(forks),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
        "ANSIBLE_INJECT_FACT_VARS": "False",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_INVENTORY_IGNORE_REGEX": "^models$",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_NOCOWS": "True",
        "PATH": os.pathsep.join([*script_dirs(), base.get("PATH", os.defpath)]),
    }


def script_dirs() -> tuple[str, ...]:
    """Where ansible-playbook lies: beside the Python that runs llmprov, whether or not that is on PATH."""
    return tuple(dict.fromkeys((str(Path(sys.executable).parent), sysconfig.get_path("scripts"))))
