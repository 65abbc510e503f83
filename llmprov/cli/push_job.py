"""`python -m llmprov.cli.push_job`: does the push that standard input describes. For llmprov's own use.

A small process: it loads neither the verbs nor Ansible, since an install runs it beside Ansible.
"""

import sys

from llmprov.errors import ExitCode, LlmprovError
from llmprov.report import progress
from llmprov.report.console import print_error
from llmprov.workflows.push_job import PushJob


def main() -> int:
    """Push; return the exit code."""
    job = PushJob.from_json(sys.stdin.read())
    try:
        with progress.open(progress.Style.JSON) as steps:
            job.run(steps)
    except LlmprovError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
