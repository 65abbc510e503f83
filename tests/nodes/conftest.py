"""An installed cluster of the nodes' own: its models follow the load, and leave room for what moves."""

from tests.lab.conftest import _requirements, installed, lab_environment

__all__ = ["_requirements", "installed", "lab_environment"]
