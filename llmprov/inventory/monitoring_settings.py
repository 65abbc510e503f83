"""What an inventory may say about monitoring: the keys of `cluster_monitoring`."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, field_validator

# The engine counts requests by these bounds of its histogram, so an objective must be one of them.
_TTFT_BOUNDS = (0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0)


class MonitoringSettings(BaseModel):
    """How long is remembered, what counts as good enough, and who is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retention_days: int = Field(default=15, ge=1, description="Days after which Prometheus forgets.")
    retention_gib: int = Field(
        default=8, ge=1, description="Gibibytes that its data may take; the older part goes first."
    )
    memory: str = Field(
        default="2Gi", pattern=r"^[1-9][0-9]*(Mi|Gi)$", description="Memory limit of Prometheus, such as `2Gi`."
    )
    scrape_seconds: int = Field(default=15, ge=2, le=60, description="Seconds from one scrape to the next.")
    availability: float = Field(default=0.999, gt=0.5, lt=1, description="Share of requests that must not fail.")
    ttft_seconds: float = Field(default=2.5, description="Seconds within which the first token must come.")
    ttft_share: float = Field(default=0.95, gt=0.5, lt=1, description="Share of requests with a first token by then.")
    queue_per_replica: int = Field(default=10, ge=1, description="Requests that may wait for one ready replica.")
    alert_seconds: Mapping[str, int] = Field(
        default_factory=dict, description="By alert: seconds for which it must be true before somebody is told."
    )
    webhook: SecretStr = Field(
        default=SecretStr(""), description="URL that Alertmanager posts alerts to. Unset: nobody."
    )
    watchdog_webhook: SecretStr = Field(
        default=SecretStr(""),
        description="URL of a dead man's switch, posted to every minute while alerts are delivered.",
    )
    alertmanager: Mapping[str, JsonValue] = Field(
        default_factory=dict,
        description="Alertmanager's own configuration; each of its sections replaces llmprov's.",
    )
    grafana: bool = Field(default=True, description="Whether Grafana is deployed.")
    kube_state_metrics: bool = Field(default=True, description="Whether kube-state-metrics is deployed.")

    @field_validator("ttft_seconds")
    @classmethod
    def _is_a_bound(cls, value: float) -> float:
        if value not in _TTFT_BOUNDS:
            raise ValueError(
                f"vLLM counts first tokens within {', '.join(f'{bound:g}' for bound in _TTFT_BOUNDS)} seconds"
            )
        return value
