"""Charts and kustomizations: out of a real module download, rendered by programs that tell what they were given."""

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from llmprov.bundle.builders.manifests import (
    HelmBuilder,
    HelmSource,
    KustomizeBuilder,
    KustomizeSource,
    as_released,
    copy_tree,
)
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Builder, BuiltFile, Source
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError

FILES = {
    "go.mod": "module example.org/addon\n\ngo 1.21\n",
    "charts/addon/Chart.yaml": "apiVersion: v2\nname: addon\nversion: v0.0.0-latest\nappVersion: latest\n",
    "charts/addon/values.tmpl.yaml": "image: ${Image}\n",
    "charts/addon/templates/thing.yaml": "{{ .Values.image }}\n",
    "config/default/kustomization.yaml": "resources: [../crd]\n",
    "config/crd/kustomization.yaml": "resources: [thing.yaml]\n",
    "config/crd/thing.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: thing}\n",
}
# Prints its arguments, its settings and the files it could render.
HELM = """#!/bin/sh
echo "# arguments: $*" | sed "s#$PWD/##"
echo "# config: ${HELM_CONFIG_HOME#$PWD/}"
cat "$3/Chart.yaml" "$3/values.yaml"
echo "a warning" >&2
"""
KUBECTL = """#!/bin/sh
[ "$1" = kustomize ] || exit 1
cat "$2/kustomization.yaml" > "${3#--output=}"
cat "$2/config/default/kustomization.yaml" "$2/config/crd/thing.yaml" >> "${3#--output=}"
"""


@pytest.fixture
def addon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module proxy of files with one module, and Go caches that see nothing else."""
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    versions = tmp_path / "proxy/example.org/addon/@v"
    versions.mkdir(parents=True)
    (versions / "v1.2.3.info").write_text('{"Version":"v1.2.3","Time":"2026-01-02T03:04:05Z"}')
    (versions / "v1.2.3.mod").write_text(FILES["go.mod"])
    with zipfile.ZipFile(versions / "v1.2.3.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"example.org/addon@v1.2.3/{name}", content)
    monkeypatch.setenv("GOPROXY", f"file://{tmp_path}/proxy")
    monkeypatch.setenv("GONOSUMDB", "example.org/*")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    yield
    for directory, _, _ in os.walk(tmp_path / "modules"):
        Path(directory).chmod(0o755)


def build(builder: Builder, source: Source, program: str, store: BlobStore, workdir: Path) -> str:
    workdir.mkdir()
    spec = ArtifactSpec(
        name="addon", kind="file", version="1.2.3", licence="Apache-2.0", needs=("program",), source=source
    )
    needs = {"program": BuiltFile(store.put_bytes(program.encode()))}
    built = builder.build(spec, BuildContext(store=store, workdir=workdir, needs=needs))
    assert isinstance(built, BuiltFile)
    return store.path(built.blob.sha256).read_text()


HELM_SOURCE = HelmSource(
    module="example.org/addon",
    directory="charts/addon",
    helm="program",
    release="eg",
    namespace="addon-system",
    kubernetes="1.37.2",
    fill={"Image": "example.org/addon:v1.2.3"},
    values=("createNamespace=true",),
    go="1.21",
)


@pytest.mark.usefixtures("addon")
def test_a_chart_is_rendered_as_its_release_does(store: BlobStore, tmp_path: Path) -> None:
    text = build(HelmBuilder(), HELM_SOURCE, HELM, store, tmp_path / "work")
    assert text.splitlines() == [
        (
            "# arguments: template eg chart --include-crds --namespace=addon-system --kube-version=1.37.2 "
            "--set=createNamespace=true"
        ),
        "# config: helm",
        "apiVersion: v2",
        "name: addon",
        "version: v1.2.3",
        "appVersion: v1.2.3",
        "image: example.org/addon:v1.2.3",
    ]


@pytest.mark.usefixtures("addon")
def test_a_rendering_that_fails_is_an_error_with_its_words(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        build(HelmBuilder(), HELM_SOURCE, "#!/bin/sh\necho no such chart >&2\nexit 3\n", store, tmp_path / "work")
    assert caught.value.details == ("no such chart",)


@pytest.mark.usefixtures("addon")
def test_a_kustomization_is_rendered_with_what_is_laid_over_it(store: BlobStore, tmp_path: Path) -> None:
    source = KustomizeSource(
        module="example.org/addon",
        directory="config/default",
        kubectl="program",
        overlay={"images": [{"name": "a", "newTag": "1"}]},
        go="1.21",
    )
    text = build(KustomizeBuilder(), source, KUBECTL, store, tmp_path / "work")
    overlay, _, rest = text.partition("resources: [../crd]\n")
    assert yaml.safe_load(overlay) == {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["config/default"],
        "images": [{"name": "a", "newTag": "1"}],
    }
    assert rest == FILES["config/crd/thing.yaml"]


def test_a_copy_can_be_written_to(tmp_path: Path) -> None:
    module = tmp_path / "module"
    (module / "charts/a").mkdir(parents=True)
    (module / "charts/a/x.yaml").write_text("a: b\n")
    (module / "charts/a/x.yaml").chmod(0o444)
    (module / "charts/a").chmod(0o555)
    copy = copy_tree(module, "charts", tmp_path / "copy")
    assert (copy / "a").stat().st_mode & 0o200
    assert (copy / "a/x.yaml").stat().st_mode & 0o200
    (module / "charts/a").chmod(0o755)
    with pytest.raises(BundleError, match="no directory other"):
        copy_tree(module, "other", tmp_path / "none")


def test_a_value_that_the_catalog_does_not_fill_in_is_named(tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").write_text(FILES["charts/addon/Chart.yaml"])
    (tmp_path / "values.tmpl.yaml").write_text("image: ${Image}\n")
    with pytest.raises(BundleError, match="'Image'"):
        as_released(tmp_path, "v1.0.0", {})
