"""`llmprov chat`: ask a model of the cluster."""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.inventory import load
from llmprov.report import chat as report
from llmprov.workflows.chat import Question, ask


def chat(
    model: Annotated[str, typer.Argument(help="The model's name, or the name it is served under.")],
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    *,
    inventory: Annotated[Path, typer.Option("--inventory", "-i", metavar="DIR", help="The inventory.")],
    system: Annotated[str, typer.Option("--system", help="Instructions that come before the question.")] = "",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option("--temperature", min=0, max=2, help="0 is the same every time.")] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document when the answer is complete.")
    ] = False,
) -> None:
    """Ask a model; the answer is printed as it comes."""
    question = Question(model, prompt, system, max_tokens, temperature)
    if as_json:
        report.print_answer(ask(load(inventory), question, lambda _: None))
        return
    report.print_end(ask(load(inventory), question, report.print_piece))
