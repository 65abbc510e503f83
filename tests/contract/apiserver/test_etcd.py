"""Members of etcd, listed and removed through its own JSON API: a real etcd on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from llmprov.cluster.etcd import Etcd
from llmprov.errors import ClusterError
from tests.contract.apiserver.conftest import _binary, _etcd_command, _free_port, _process

PEER = "http://127.0.0.1:9"


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    program = _binary("etcd", tmp_path)
    if program is None:
        pytest.skip("no etcd on PATH and no bundle to take it from: make bundle")
    client, peer = _free_port(), _free_port()
    url = f"http://127.0.0.1:{client}"
    with _process(tmp_path / "etcd.log", _etcd_command(program, tmp_path, client, peer)):
        patient = urllib3.PoolManager(retries=urllib3.Retry(total=20, backoff_factor=0.1, allowed_methods=None))
        assert patient.request("GET", f"{url}/health").status == 200
        yield Etcd("cp1", urllib3.PoolManager(retries=False), url)


def test_a_member_is_removed(etcd: Etcd) -> None:
    # A learner has no vote: the other stays able to decide.
    body = json.dumps({"peerURLs": [PEER], "isLearner": True})
    assert etcd.pool.request("POST", f"{etcd.url}/v3/cluster/member/add", body=body).status == 200
    members = {member.name: member for member in etcd.members()}
    assert members.keys() == {"default", ""}
    etcd.remove(members[""])
    assert [member.name for member in etcd.members()] == ["default"]
    with pytest.raises(ClusterError, match="member not found"):
        etcd.remove(members[""])


def test_an_etcd_that_is_away() -> None:
    away = Etcd("cp1", urllib3.PoolManager(retries=False), f"http://127.0.0.1:{_free_port()}")
    with pytest.raises(ClusterError, match="etcd on cp1: member/list") as caught:
        away.members()
    assert "etcd-cp1" in caught.value.remedy
