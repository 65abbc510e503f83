"""What a run of a playbook did to each host, for people and for programs."""

from rich.table import Table

from llmprov.runner import RunResult

MEGABYTE = 1_000_000


def hosts_table(result: RunResult) -> Table:
    """A row a host: tasks that were fine, that changed something, that did not apply."""
    table = Table("host", "ok", "changed", "skipped", box=None, pad_edge=False, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for outcome in sorted(result.hosts, key=lambda outcome: outcome.host):
        style = "yellow" if outcome.changed else ""
        table.add_row(outcome.host, str(outcome.ok), str(outcome.changed), str(outcome.skipped), style=style)
    return table


def hosts_json(result: RunResult) -> dict[str, dict[str, int]]:
    """The same, by host name."""
    return {
        outcome.host: {"ok": outcome.ok, "changed": outcome.changed, "skipped": outcome.skipped}
        for outcome in result.hosts
    }
