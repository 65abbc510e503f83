from pathlib import Path

import pytest
import yaml

from llmprov.bundle.builders import REGISTRIES_BUILDERS
from llmprov.bundle.catalog import ArtifactSpec, BuilderRegistry
from llmprov.bundle.catalog_file import Catalog, catalog_path, load_catalog
from llmprov.bundle.upstream import UPSTREAM_BUILDERS, OciSource, UrlSource
from llmprov.errors import BundleError
from llmprov.paths import content_root

BUILDERS = BuilderRegistry((*UPSTREAM_BUILDERS, *REGISTRIES_BUILDERS))

FILES = {
    *("kubelet", "kubeadm", "kubectl", "containerd", "runc", "crictl", "cni-plugins", "registry", "nvidia-ctk"),
    *("gateway-api-crds", "envoy-gateway-manifests", "keda-manifests", "metrics-server-manifests"),
    *("promtool", "amtool"),
}
IMAGES = {
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
    *("etcd", "coredns", "pause", "flannel", "vllm"),
    *("envoy-gateway", "envoy", "keda-operator", "keda-metrics-apiserver", "metrics-server"),
    *("prometheus", "alertmanager", "node-exporter"),
}

SPEC = """
  - name: runc
    kind: file
    version: {version}
    licence: Apache-2.0
    source: {{type: url, url: "https://example.org/v${{version}}/runc", sha256: "{sha256}"}}
"""


def write(tmp_path: Path, text: str, name: str = "test.yml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def load(tmp_path: Path, text: str) -> Catalog:
    return load_catalog(write(tmp_path, text), BUILDERS)


@pytest.mark.parametrize("name", ["upstream", "registries"])
def test_a_shipped_catalog_has_what_roles_ask_for(name: str) -> None:
    catalog = load_catalog(catalog_path(name), BUILDERS)
    offered = {(spec.kind, spec.name) for spec in catalog.artifacts if not spec.intermediate}
    assert {("file", name) for name in FILES} <= offered
    assert {("image", name) for name in IMAGES} <= offered


def test_both_catalogs_have_packages_for_the_same_suites() -> None:
    suites = [
        {s.suite for s in load_catalog(catalog_path(name), BUILDERS).artifacts if s.kind == "debs" and not s.optional}
        for name in ("upstream", "registries")
    ]
    assert suites[0] == suites[1] >= {"bookworm", "trixie"}


@pytest.mark.parametrize(
    "component",
    ["kubernetes", "gateway_api", "envoy_gateway", "envoy", "keda", "metrics_server", "nvidia_container_toolkit"],
)
def test_both_catalogs_have_the_same(component: str) -> None:
    versions = {load_catalog(catalog_path(name), BUILDERS).versions[component] for name in ("upstream", "registries")}
    assert len(versions) == 1


def test_only_what_one_catalog_alone_has_is_optional() -> None:
    upstream, registries = (load_catalog(catalog_path(name), BUILDERS).by_name for name in ("upstream", "registries"))
    alone = {name for name, spec in upstream.items() if name not in registries and not spec.intermediate}
    assert {name for name, spec in upstream.items() if spec.optional} == alone


def test_upstream_says_how_each_download_is_checked() -> None:
    for spec in load_catalog(catalog_path("upstream"), BUILDERS).artifacts:
        if isinstance(spec.source, UrlSource):
            assert spec.source.url.startswith("https://")
            assert (spec.source.checksum_url or "https://").startswith("https://")
            assert spec.version in spec.source.url
        if isinstance(spec.source, OciSource):
            assert spec.source.ref == spec.ref


def test_versions_are_filled_in(tmp_path: Path) -> None:
    catalog = load(tmp_path, "versions: {runc: 1.5}\nartifacts:" + SPEC.format(version="${runc}", sha256="1" * 64))
    spec = catalog.by_name["runc"]
    assert (catalog.name, spec.version) == ("test", "1.5")
    assert spec.source.describe() == "https://example.org/v1.5/runc"


def test_common_parts_are_included(tmp_path: Path) -> None:
    write(
        tmp_path,
        "versions: {runc: 1.4, other: 2}\nartifacts:" + SPEC.format(version="${runc}", sha256="1" * 64),
        "c.yml",
    )
    catalog = load(tmp_path, "include: [c.yml]\nversions: {runc: 1.5}\n")
    assert catalog.by_name["runc"].version == "1.5"
    assert catalog.versions["other"] == "2"


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    text = """
artifacts:
  - {name: a, kind: file, version: "1", licence: MIT, source: {type: url, url: "https://example.org/a"}}
  - {name: b, kind: file, version: "1", licence: MIT, source: {type: ftp}}
  - {name: c, kind: image, version: "1", licence: MIT, source: {type: oci, ref: "Bad Ref"}, ref: no-host}
  - {name: d, kind: file, version: "${nowhere}", licence: MIT, source: {type: oci, ref: x}}
  - {name: e, kind: debs, version: "1", licence: MIT, source: {type: oci, ref: x}, colour: red}
  - {name: f, kind: file, version: "1", licence: MIT, source: {type: oci, ref: x}, needs: [z]}
  - {name: f, kind: file, version: "1", licence: MIT, source: {type: oci, ref: x}}
  - just text
"""
    with pytest.raises(BundleError, match=r"test\.yml has") as caught:
        load(tmp_path, text)
    found = "\n".join(caught.value.details)
    for expected in (
        "a: source: Value error, https://example.org/a: give sha256 or checksum_url",
        "b: source: Value error, unknown source type 'ftp'; known: archive",
        "c: source: Value error, 'Bad Ref' is not an image reference",
        "d: no version named 'nowhere'",
        "e: colour: Extra inputs are not permitted",
        "f: needs z, which the catalog does not have",
        "f: named twice",
        "artifact 8: document: Input should be",
    ):
        assert expected in found


def test_a_circle_is_found_when_the_catalog_is_read(tmp_path: Path) -> None:
    item = "{name: %s, kind: file, version: '1', licence: MIT, source: {type: oci, ref: x}, needs: [%s]}"
    with pytest.raises(BundleError) as caught:
        load(tmp_path, f"artifacts: [{item % ('a', 'b')}, {item % ('b', 'a')}]")
    assert "need each other in a circle" in caught.value.details[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "image", "ref": "localhost:5000/x:1"}, "write host/repository:tag"),
        ({"kind": "image"}, "write host/repository:tag"),
        ({"kind": "debs"}, "has no suite"),
    ],
)
def test_a_spec_is_whole(options: dict[str, str], message: str) -> None:
    fields = {"name": "x", "version": "1", "licence": "MIT", "source": OciSource(ref="x:1"), **options}
    with pytest.raises(ValueError, match=message):
        ArtifactSpec.model_validate(fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("- a", "is not a mapping"),
        ("artefacts: []", "unknown keys: artefacts"),
        ("artifacts: {a: 1}", "artifacts is not a list"),
        ("versions: [1]", "versions is not a mapping"),
        ("include: [missing.yml]", "no catalog .*missing.yml"),
    ],
)
def test_a_file_that_is_no_catalog_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        load(tmp_path, text)


def test_a_source_of_another_builder_is_refused() -> None:
    spec = ArtifactSpec(name="x", kind="file", version="1", licence="MIT", source=OciSource(ref="x:1"))
    with pytest.raises(BundleError, match="came to the builder of UrlSource"):
        spec.source_as(UrlSource)


def test_the_driver_is_the_roles() -> None:
    defaults = yaml.safe_load((content_root() / "roles/nvidia_driver/defaults/main.yml").read_text())
    catalog = load_catalog(catalog_path("upstream"), BUILDERS)
    assert catalog.versions["nvidia_driver"] == defaults["nvidia_driver_version"]
    drivers = [spec for spec in catalog.artifacts if (spec.suite or "").endswith("-nvidia")]
    assert {spec.suite for spec in drivers} == {"bookworm-nvidia", "trixie-nvidia"}
    assert {spec.version for spec in drivers} == {defaults["nvidia_driver_version"]}
