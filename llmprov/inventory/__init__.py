"""The Ansible inventory as validated values; every error at once."""

from llmprov.inventory.load import load
from llmprov.inventory.model_spec import EngineSpec, ModelSource, ModelSpec, ResourceSpec, TimeoutSpec
from llmprov.inventory.values import ClusterSettings, Host, Inventory

__all__ = [
    "ClusterSettings",
    "EngineSpec",
    "Host",
    "Inventory",
    "ModelSource",
    "ModelSpec",
    "ResourceSpec",
    "TimeoutSpec",
    "load",
]
