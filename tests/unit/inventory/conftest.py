"""Writes small inventories to disk: the real loader reads them."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

HOSTS = """
    all:
      vars:
        ansible_user: ops
        ansible_ssh_common_args: -F {{ inventory_dir }}/ssh.cfg
      children:
        control_plane:
          hosts:
            cp1: {ansible_host: 10.0.0.11}
        workers:
          children:
            gpu_workers:
              hosts:
                gpu1: {ansible_host: 10.0.0.21, ansible_port: 2222}
                gpu2: {ansible_host: 10.0.0.22}
"""
MODEL = """
    name: chat
    source: {artifact: smollm2-135m-instruct}
"""
type Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes an inventory: hosts, group variables and models by file name."""

    def make(hosts: str = HOSTS, group_vars: str = "", **models: str) -> Path:
        directory = tmp_path / "inventory"
        texts = {"hosts.yml": hosts, "group_vars/all.yml": group_vars}
        texts |= {f"models/{name}.yml": text for name, text in models.items()}
        for name, text in texts.items():
            if text:
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                (directory / name).write_text(dedent(text), encoding="utf-8")
        return directory

    return make
