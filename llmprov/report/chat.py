"""A chat answer: as it comes, or as one JSON document."""

import json
import sys
from dataclasses import asdict

from llmprov.report.console import err, out
from llmprov.states import Answer


def print_piece(text: str) -> None:
    """Print a piece of the answer at once; the model's own characters, no markup."""
    sys.stdout.write(text)
    sys.stdout.flush()


def print_end(answer: Answer) -> None:
    """End the line, and say what it took on standard error."""
    sys.stdout.write("\n")
    sys.stdout.flush()
    rest = answer.seconds - answer.first_token_seconds
    rate = (
        f", {(answer.completion_tokens - 1) / rest:.1f} tokens/s" if rest > 0 and answer.completion_tokens > 1 else ""
    )
    cut = " (cut off at --max-tokens)" if answer.finish_reason == "length" else ""
    err.print(
        f"[dim]{answer.model}: {answer.prompt_tokens} tokens in, {answer.completion_tokens} out{cut}; "
        f"first after {answer.first_token_seconds:.2f} s{rate}[/]"
    )


def print_answer(answer: Answer) -> None:
    """Print the whole answer as JSON."""
    out.print_json(json.dumps(asdict(answer)))
