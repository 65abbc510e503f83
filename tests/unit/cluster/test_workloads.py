import pytest

from llmprov.cluster.workloads import REVISION, Deployment

ALL = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}


def deployment(revision: str, **status: int) -> Deployment:
    meta = {"name": "m", "namespace": "ns", "generation": 1, "annotations": {REVISION: revision}}
    return Deployment.model_validate({"metadata": meta, "spec": {"replicas": 2}, "status": ALL | status})


@pytest.mark.parametrize("revision", ["1", "2"])
def test_all_of_the_newest_template_and_available(revision: str) -> None:
    assert deployment(revision).rolled_out


@pytest.mark.parametrize("revision", ["1", "2"])
@pytest.mark.parametrize("status", [{"observedGeneration": 0}, {"replicas": 3}, {"updatedReplicas": 1}])
def test_an_older_one_is_left(revision: str, status: dict[str, int]) -> None:
    assert not deployment(revision, **status).rolled_out


def test_replicas_of_the_first_template_need_not_prove_themselves() -> None:
    assert deployment("1", availableReplicas=0).rolled_out
    assert not deployment("1", readyReplicas=1, availableReplicas=0).rolled_out


def test_replicas_that_take_others_places_stay_ready_for_a_while_first() -> None:
    assert not deployment("2", availableReplicas=1).rolled_out
