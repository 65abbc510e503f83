"""The stations and the stages name the same things."""

from llmprov.stages import Runner, stage_names
from llmprov.workflows.stations import STATIONS, stations_of


def test_every_stage_of_the_cluster_but_the_models_is_a_station() -> None:
    assert (*(station.stage for station in STATIONS), "models") == stage_names(runner=Runner.PYTHON)


def test_stations_keep_their_order() -> None:
    assert [station.stage for station in stations_of({"monitoring", "models", "network"})] == ["network", "monitoring"]
