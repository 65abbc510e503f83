"""Checks of options that several verbs have."""

import typer

from llmprov.stages import stage_names


def stage_name(value: str) -> str:
    """Refuse a name that is no stage's."""
    if value and value not in stage_names():
        raise typer.BadParameter(f"there is no stage {value!r}; the stages are {', '.join(stage_names())}")
    return value
