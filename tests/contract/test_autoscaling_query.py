"""What the autoscaler asks Prometheus, evaluated by Prometheus' own promtool on metrics that real engines gave."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from llmprov import paths
from llmprov.bundle.lock import LOCK_FILE, BundleLock
from llmprov.manifests.autoscaling import kv_cache_query, requests_query

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
STEP = 5
SERIES = re.compile(r"(?P<name>vllm:\w+)\{(?P<labels>[^}]*)\} (?P<value>\S+)")
type Scrape = Mapping[str, float]


def scrapes(file: str) -> list[Scrape]:
    """Read the scrapes of a sample: value by metric."""
    _, *parts = (SAMPLES / file).read_text().split("# scrape ")
    found: list[Scrape] = [{m["name"]: float(m["value"]) for m in SERIES.finditer(part)} for part in parts]
    assert all(len(scrape) == 3 for scrape in found)
    return found


LOAD = scrapes("vllm-0.32.0-cpu.metrics")
GPU = scrapes("vllm-0.25.1-gpu.metrics")
RUNNING, WAITING, CACHE = "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if found := shutil.which("promtool"):
        return Path(found)
    bundle = paths.cache_dir() / "bundle"
    if not (bundle / LOCK_FILE).exists():
        pytest.skip("no promtool on PATH and no bundle to take it from: make bundle")
    blob = bundle / "blobs" / "sha256" / BundleLock.load(bundle).file("promtool").sha256
    program = tmp_path_factory.mktemp("promtool") / "promtool"
    shutil.copy(blob, program)
    program.chmod(0o755)
    return program


def series(recorded: Sequence[Scrape], model: str, pod: str, *, without: str = "") -> list[dict[str, str]]:
    """Return what Prometheus has of one replica, with the labels that the scrape gives it."""
    labels = f'job="vllm",model="{model}",pod="{pod}",engine="0",model_name="{model}"'
    return [
        {"series": f"{name}{{{labels}}}", "values": " ".join(str(scrape[name]) for scrape in recorded)}
        for name in (RUNNING, WAITING, CACHE)
        if name != without
    ]


def evaluate(
    promtool: Path, tmp_path: Path, given: list[dict[str, str]], query: str, expected: Sequence[float | None]
) -> None:
    """Let promtool compare a query's values with the expected ones; None means no result at all."""
    cases = [
        {
            "expr": query,
            "eval_time": f"{number * STEP}s",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }
        for number, value in enumerate(expected)
    ]
    tests = [{"interval": f"{STEP}s", "input_series": given, "promql_expr_test": cases}]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"evaluation_interval": f"{STEP}s", "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_requests_of_all_replicas_are_added_up(promtool: Path, tmp_path: Path) -> None:
    given = series(LOAD, "m", "a") + series(LOAD, "m", "b")
    expected = [2 * (scrape[RUNNING] + scrape[WAITING]) for scrape in LOAD]
    assert max(expected) == 16
    evaluate(promtool, tmp_path, given, requests_query("m"), expected)


def test_another_models_requests_are_not_counted(promtool: Path, tmp_path: Path) -> None:
    given = series(LOAD, "m", "a") + series(LOAD, "m-2", "b")
    evaluate(promtool, tmp_path, given, requests_query("m"), [scrape[RUNNING] for scrape in LOAD])


def test_an_idle_gpu_engine_has_zero_requests_not_none(promtool: Path, tmp_path: Path) -> None:
    evaluate(promtool, tmp_path, series(GPU, "m", "a"), requests_query("m"), [0])
    evaluate(promtool, tmp_path, series(GPU, "m", "a"), kv_cache_query("m"), [0])


def test_without_data_there_is_no_result_instead_of_zero(promtool: Path, tmp_path: Path) -> None:
    given = series(LOAD, "other", "a")
    evaluate(promtool, tmp_path, given, requests_query("m"), [None] * len(LOAD))
    evaluate(promtool, tmp_path, given, kv_cache_query("m"), [None] * len(LOAD))


def test_an_engine_that_renamed_a_metric_is_no_data(promtool: Path, tmp_path: Path) -> None:
    evaluate(promtool, tmp_path, series(LOAD, "m", "a", without=WAITING), requests_query("m"), [None] * len(LOAD))


def test_caches_are_added_up_in_percent(promtool: Path, tmp_path: Path) -> None:
    given = series(LOAD, "m", "a") + series(LOAD, "m", "b")
    evaluate(promtool, tmp_path, given, kv_cache_query("m"), [100 * (2 * scrape[CACHE]) for scrape in LOAD])


def test_a_wrong_expectation_is_noticed(promtool: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="FAILED"):
        evaluate(promtool, tmp_path, series(LOAD, "m", "a"), requests_query("m"), [99])
