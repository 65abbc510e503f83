"""Whether hosts are fit for installation: facts in, findings out. Pure; `workflows.preflight` collects the facts."""

from llmprov.preflight.context import Asked, Context
from llmprov.preflight.facts import HostFacts
from llmprov.preflight.findings import Finding, PreflightReport, Severity
from llmprov.preflight.needs import ImageNeed, Needs
from llmprov.preflight.rules import judge

__all__ = ["Asked", "Context", "Finding", "HostFacts", "ImageNeed", "Needs", "PreflightReport", "Severity", "judge"]
