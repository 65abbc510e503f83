"""The configurations of Prometheus and Alertmanager, in the shapes that those two define."""

from collections.abc import Mapping, Sequence

from llmprov.observability.alerts import WATCHDOG
from llmprov.observability.scrape import Document

_NOBODY = "nobody"
# What a lost node takes with it needs no message of its own.
_FOLLOWS_NODE = "DiskFilling|EngineFrozen|GpuXidError|ReplicaNotReady|TargetDown"


def prometheus_configuration(
    jobs: Sequence[Document], *, cluster: str, scrape_seconds: int, scrape_timeout: int, alertmanager: str
) -> Document:
    """Return prometheus.yml.

    Args:
        jobs: scrape jobs.
        cluster: its name, a label of everything that leaves Prometheus.
        scrape_seconds: from one scrape to the next, and from one evaluation of the rules to the next.
        scrape_timeout: after which a scrape is given up.
        alertmanager: host and port.
    """
    return {
        "global": {
            "scrape_interval": f"{scrape_seconds}s",
            "scrape_timeout": f"{scrape_timeout}s",
            "evaluation_interval": f"{scrape_seconds}s",
            "external_labels": {"cluster": cluster},
        },
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [*jobs],
    }


def job_names(jobs: Sequence[Document]) -> tuple[str, ...]:
    """Return the names of scrape jobs."""
    return tuple(str(job["job_name"]) for job in jobs)


def alertmanager_configuration(*, webhook: str, watchdog_webhook: str, sections: Mapping[str, object]) -> Document:
    """Return alertmanager.yml.

    Args:
        webhook: that gets alerts; empty for nobody.
        watchdog_webhook: of the dead man's switch; empty for none.
        sections: of the user's own, each in place of the one here.
    """
    told = "webhook" if webhook else _NOBODY
    watched = "watchdog" if watchdog_webhook else _NOBODY
    receivers: list[Document] = [{"name": _NOBODY}]
    if webhook:
        receivers.append({"name": told, "webhook_configs": [{"url": webhook, "send_resolved": True}]})
    if watchdog_webhook:
        receivers.append({"name": watched, "webhook_configs": [{"url": watchdog_webhook, "send_resolved": False}]})
    own: Document = {
        "route": {
            "receiver": told,
            "group_by": ["alertname", "model", "node"],
            "group_wait": "15s",
            "group_interval": "1m",
            "repeat_interval": "4h",
            "routes": [
                {
                    "matchers": [f'alertname="{WATCHDOG}"'],
                    "receiver": watched,
                    "group_wait": "0s",
                    "group_interval": "1m",
                    "repeat_interval": "1m",
                }
            ],
        },
        "receivers": receivers,
        "inhibit_rules": [
            _inhibit('alertname="NodeNotReady"', f'alertname=~"{_FOLLOWS_NODE}"', "node"),
            # Requests that queue get their first token late: one cause, one message.
            _inhibit('alertname="QueueGrowing"', 'alertname="TtftBudgetBurning"', "model"),
            _inhibit('severity="critical"', 'severity="warning"', "alertname", "model", "node"),
        ],
    }
    return {**own, **sections}


def _inhibit(source: str, target: str, *equal: str) -> Document:
    return {"source_matchers": [source], "target_matchers": [target], "equal": [*equal]}
