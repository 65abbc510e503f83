"""Filters and the bundle lookup: what they return is what containerd and the modules take."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.plugins.loader import lookup_loader

from llmprov.paths import content_root

type Loader = Callable[[str, str], ModuleType]

ARTIFACTS: list[dict[str, Any]] = [
    {"kind": "file", "name": "kubelet", "version": "1.37.2", "sha256": "aa", "size": 1, "licence": "Apache-2.0"},
    {"kind": "deb", "name": "nft-t", "package": "nftables", "suite": "trixie", "version": "1.1-1", "sha256": "bb"},
    {"kind": "deb", "name": "nft-b", "package": "nftables", "suite": "bookworm", "version": "1.0-1", "sha256": "cc"},
    {"kind": "image", "name": "pause", "version": "3.10", "sha256": "dd", "ref": "registry.k8s.io/pause:3.10"},
    {"kind": "image", "name": "etcd", "version": "3.7", "sha256": "ee", "ref": "llmprov.internal:5000/etcd:3.7-0"},
]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "bundle.lock.json").write_text(json.dumps({"schema": 1, "artifacts": ARTIFACTS}))
    return tmp_path


@pytest.fixture
def query() -> Callable[..., Any]:
    lookup_loader.add_directory(str(content_root() / "plugins" / "lookup"))
    return lambda *terms, **options: lookup_loader.get("llmprov_bundle").run(list(terms), variables={}, **options)


@pytest.mark.parametrize(
    "document",
    [
        {"version": 4, "plugins": {"io.containerd.cri.v1.images": {"x": True, "n": 3, "f": 1.5, "l": ["a", "b"]}}},
        {"a": {"b": {}, "c": {"d": 'quote " back \\ line \n ü'}}, "empty": [], "nested": [[1, 2], [3]]},
        {"list": [{"a": 1, "b.c": "d"}], "key with space": {"dotted.key": False}},
    ],
)
def test_toml_says_what_the_dictionary_says(plugin: Loader, document: dict[str, Any]) -> None:
    assert tomllib.loads(plugin("filter", "toml").to_toml(document)) == document


@pytest.mark.parametrize("bad", [{"key": None}, {"list": [None]}, ["no", "mapping"]])
def test_toml_refuses_what_it_cannot_say(plugin: Loader, bad: object) -> None:
    with pytest.raises(AnsibleError, match="to_toml"):
        plugin("filter", "toml").to_toml(bad)


def test_hosts_file_sends_a_registrys_images_to_the_cluster(plugin: Loader) -> None:
    file = plugin("filter", "containerd").containerd_hosts_file("registry.k8s.io", "10.0.0.11:5000")
    assert file["path"] == "/etc/containerd/certs.d/registry.k8s.io/hosts.toml"
    assert tomllib.loads(file["content"]) == {
        "server": "http://10.0.0.11:5000/v2/registry.k8s.io",
        "capabilities": ["pull", "resolve"],
        "override_path": True,
    }


def test_a_file_comes_with_what_a_host_needs_to_fetch_it(query: Callable[..., Any], bundle: Path) -> None:
    [kubelet] = query("kubelet", directory=str(bundle), registry="10.0.0.11:5000")
    assert kubelet["fetch"] == {
        "name": "kubelet",
        "sha256": "aa",
        "url": "http://10.0.0.11:5000/v2/llmprov/files/blobs/sha256:aa",
    }
    assert kubelet["path"] == str(bundle / "blobs" / "sha256" / "aa")


def test_packages_are_those_of_the_release(query: Callable[..., Any], bundle: Path) -> None:
    found = query("trixie", kind="deb", directory=str(bundle), registry="r:1")
    assert [(deb["fetch"]["package"], deb["fetch"]["version"]) for deb in found] == [("nftables", "1.1-1")]
    assert query("noble", kind="deb", directory=str(bundle), registry="r:1") == []


def test_images_are_split_at_the_tag(query: Callable[..., Any], bundle: Path) -> None:
    pause, etcd = query("pause", "etcd", kind="image", directory=str(bundle))
    assert (pause["repository"], pause["tag"]) == ("registry.k8s.io/pause", "3.10")
    assert etcd["pinned"] == "llmprov.internal:5000/etcd@sha256:ee"


def test_registries_are_listed_once(query: Callable[..., Any], bundle: Path) -> None:
    assert query(kind="registries", directory=str(bundle)) == ["llmprov.internal:5000", "registry.k8s.io"]


def test_a_missing_artifact_is_named_with_what_there_is(query: Callable[..., Any], bundle: Path) -> None:
    with pytest.raises(AnsibleError, match=r"no file kubelt \(it has: kubelet\).*llmprov bundle build"):
        query("kubelt", directory=str(bundle))


@pytest.mark.parametrize(("content", "says"), [(None, "no bundle at"), ("{", "cannot be read")])
def test_a_bundle_that_is_not_there_or_damaged(
    query: Callable[..., Any], tmp_path: Path, content: str | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "bundle.lock.json").write_text(content)
    with pytest.raises(AnsibleError, match=says):
        query("kubelet", directory=str(tmp_path))
