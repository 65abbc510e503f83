"""The upstream catalog's way, from a web server and a registry on this machine to a bundle directory."""

import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from llmprov.bundle import upstream
from llmprov.bundle.auto import build_auto
from llmprov.bundle.build import Workshop, build_artifacts
from llmprov.bundle.catalog import BuilderRegistry, BuiltFile, BuiltImage
from llmprov.bundle.catalog_file import Catalog, load_catalog
from llmprov.bundle.download import Downloader, UnavailableError
from llmprov.bundle.upstream import UPSTREAM_BUILDERS
from llmprov.errors import BundleError
from tests.unit.bundle.conftest import RecordingProgress
from tests.unit.bundle.servers import Registry, Web, digest_of

BUILDERS = BuilderRegistry(UPSTREAM_BUILDERS)


def tar(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


@dataclass
class Bench:
    """Builds catalogs written as text."""

    directory: Path
    progress: RecordingProgress

    @property
    def workshop(self) -> Workshop:
        """A workshop over one cache."""
        return Workshop(self.directory / "cache", BUILDERS, self.progress)

    def catalog(self, *items: str, name: str = "upstream") -> Catalog:
        """A catalog of flow-style items; name, kind, version and licence are filled in."""
        path = self.directory / f"{name}.yml"
        path.write_text("artifacts:\n" + "".join(f"  - {{version: '1', licence: MIT, {item}}}\n" for item in items))
        return load_catalog(path, BUILDERS)

    def build(self, *items: str) -> dict[str, BuiltFile | BuiltImage]:
        """Build them all."""
        which = self.catalog(*items)
        artifacts = build_artifacts(self.workshop, which, tuple(spec.name for spec in which.artifacts))
        return {a.spec.name: a.built for a in artifacts if isinstance(a.built, BuiltFile | BuiltImage)}

    def content(self, built: BuiltFile | BuiltImage) -> bytes:
        """What a built file holds."""
        assert isinstance(built, BuiltFile)
        return self.workshop.store.path(built.blob.sha256).read_bytes()


@pytest.fixture
def bench(tmp_path: Path, progress: RecordingProgress, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(upstream, "Downloader", partial(Downloader, attempts=2, backoff=0.001))
    return Bench(tmp_path, progress)


def runc(web: Web, body: bytes = b"runc program", *, checksum: str | None = None) -> str:
    url = web.put("/v1/runc.amd64", body)
    sums = f"{checksum or hashlib.sha256(b'runc program').hexdigest()}  runc.amd64\n".encode()
    return f'name: runc, kind: file, source: {{type: url, url: "{url}", checksum_url: "{web.put("/v1/sums", sums)}"}}'


def test_a_file_and_its_checksum_file(web: Web, bench: Bench) -> None:
    built = bench.build(runc(web))["runc"]
    assert bench.content(built) == b"runc program"
    web.requests.clear()
    assert bench.build(runc(web))["runc"] == built
    assert web.requests == [], "a warm build asks nobody"


def test_a_wrong_checksum_file_stops_the_build(web: Web, bench: Bench) -> None:
    with pytest.raises(BundleError, match=r"^runc: .*/v1/runc.amd64 has sha256 .* expected 1111"):
        bench.build(runc(web, checksum="1" * 64))


def test_a_changed_file_stops_the_build(web: Web, bench: Bench) -> None:
    with pytest.raises(BundleError, match="has sha256"):
        bench.build(runc(web, b"another program"))


def test_a_missing_checksum_file_stops_the_build(web: Web, bench: Bench) -> None:
    item = runc(web)
    del web.pages["/v1/sums"]
    with pytest.raises(UnavailableError, match="/v1/sums answers HTTP 404"):
        bench.build(item)


def test_one_member_of_an_archive(web: Web, bench: Bench) -> None:
    body = tar({"LICENSE": b"Apache", "./registry": b"registry program"})
    url, sha256 = web.put("/registry.tar.gz", body), hashlib.sha256(body).hexdigest()
    source = f'type: url, url: "{url}", sha256: {sha256}, member: registry'
    assert (
        bench.content(bench.build(f"name: registry, kind: file, source: {{{source}}}")["registry"])
        == b"registry program"
    )
    with pytest.raises(BundleError, match="has no file distribution") as caught:
        bench.build(f"name: r, kind: file, source: {{{source.replace('member: registry', 'member: distribution')}}}")
    assert caught.value.details == ("LICENSE", "./registry")


def test_a_member_of_what_is_no_archive(web: Web, bench: Bench) -> None:
    url, sha256 = web.put("/x", b"plain"), hashlib.sha256(b"plain").hexdigest()
    with pytest.raises(BundleError, match="is not a tar archive"):
        bench.build(f'name: x, kind: file, source: {{type: url, url: "{url}", sha256: {sha256}, member: x}}')


def cni(web: Web, registry: Registry, members: str = "loopback, bridge, flannel") -> tuple[str, str]:
    body = tar({"./loopback": b"loopback program", "./bridge": b"bridge program", "./dhcp": b"dhcp program"})
    url, sha256 = web.put("/cni.tgz", body), hashlib.sha256(body).hexdigest()
    layers = [tar({"flannel": b"older"}), tar({"flannel": b"flannel program"}), tar({"etc/x": b"x"})]
    registry.add_image("flannel-io/cni", "v1", layers)
    ref = f"{registry.host}/flannel-io/cni:v1"
    return (
        (
            f"name: cni-plugins, kind: file, needs: [fc], source: {{type: archive, members: [{members}], "
            f'archives: [{{url: "{url}", sha256: {sha256}}}], images: [{{image: fc, path: /flannel}}]}}'
        ),
        f'name: fc, kind: image, intermediate: true, ref: "ghcr.io/fc:1", source: {{type: oci, ref: "{ref}"}}',
    )


def test_an_archive_from_archives_and_images(web: Web, registry: Registry, bench: Bench) -> None:
    body = bench.content(bench.build(*cni(web, registry))["cni-plugins"])
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        found = {info.name: (info.mode, archive.extractfile(info).read()) for info in archive}  # type: ignore[union-attr]
    assert found == {
        "bridge": (0o755, b"bridge program"),
        "flannel": (0o755, b"flannel program"),
        "loopback": (0o755, b"loopback program"),
    }
    assert gzip.decompress(body)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs Debian's package tools")
def test_a_program_out_of_a_package(web: Web, bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "tool"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: tool\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: t <t@t>\nDescription: test\n"
    )
    (root / "usr/bin/tool").write_text("#!/bin/sh\n")
    deb = tmp_path / "tool_1.0-1_amd64.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", str(root), str(deb)], check=True, capture_output=True)
    url = web.put("/deb/tool_1.0-1_amd64.deb", deb.read_bytes())
    index = f"Package: tool\nFilename: ./{deb.name}\nSHA256: {hashlib.sha256(deb.read_bytes()).hexdigest()}\n"
    sums = web.put("/deb/Packages", index.encode())
    built = bench.build(
        "name: tool, kind: file, source: {type: archive, members: [tool], "
        f'archives: [{{url: "{url}", checksum_url: "{sums}"}}]}}'
    )
    with tarfile.open(fileobj=io.BytesIO(bench.content(built["tool"]))) as archive:
        assert [(info.name, info.mode) for info in archive] == [("tool", 0o755)]


def test_a_member_that_is_nowhere_is_named(web: Web, registry: Registry, bench: Bench) -> None:
    with pytest.raises(BundleError, match="not found in its archives: portmap"):
        bench.build(*cni(web, registry, "loopback, portmap"))


def test_an_image_by_digest(registry: Registry, bench: Bench) -> None:
    digest = registry.add_image("vllm/vllm-openai", "v1", [b"layer"])
    source = f'{{type: oci, ref: "{registry.host}/vllm/vllm-openai:v1", digest: "{digest}"}}'
    item = f'name: vllm, kind: image, ref: "docker.io/vllm/vllm-openai:v1", source: {source}'
    built = bench.build(item)["vllm"]
    assert isinstance(built, BuiltImage)
    assert built.descriptor.digest == digest


def test_a_tag_that_moved_does_not_pass_for_the_digest(registry: Registry, bench: Bench) -> None:
    registry.add_image("vllm/vllm-openai", "v1", [b"layer"])
    source = f'{{type: oci, ref: "{registry.host}/vllm/vllm-openai:v1", digest: "{digest_of(b"other")}"}}'
    with pytest.raises(UnavailableError, match="HTTP 404"):
        bench.build(f'name: vllm, kind: image, ref: "docker.io/vllm/vllm-openai:v1", source: {source}')


# auto


def auto(bench: Bench, official: list[str], registries: list[str]) -> dict[str, str]:
    catalogs = bench.catalog(*official), bench.catalog(*registries, name="registries")
    names = dict.fromkeys(spec.name for which in catalogs for spec in which.artifacts if not spec.intermediate)
    return {a.spec.name: a.catalog for a in build_auto(bench.workshop, *catalogs, tuple(names))}


def spare(web: Web, name: str) -> str:
    body = f"{name} of registries".encode()
    url = web.put(f"/spare/{name}", body)
    return f'name: {name}, kind: file, source: {{type: url, url: "{url}", sha256: {hashlib.sha256(body).hexdigest()}}}'


GONE = 'name: gone, kind: file, source: {type: url, url: "http://127.0.0.1:9/gone", sha256: "%s"}' % ("1" * 64)


def test_auto_prefers_upstream(web: Web, bench: Bench) -> None:
    assert auto(bench, [runc(web)], [spare(web, "runc"), spare(web, "model")]) == {
        "runc": "upstream",
        "model": "registries",
    }
    assert bench.progress.notes == []


def test_auto_falls_back_when_a_server_does_not_answer(web: Web, bench: Bench) -> None:
    assert auto(bench, [runc(web), GONE], [spare(web, "runc"), spare(web, "gone")]) == {
        "runc": "upstream",
        "gone": "registries",
    }
    [note] = bench.progress.notes
    assert note.startswith("gone: from the registries catalog, since 127.0.0.1:9 does not answer")
    assert "gone" not in bench.progress.steps[: bench.progress.steps.index("runc")], "no download was tried"


def test_auto_falls_back_when_a_file_is_not_there(web: Web, bench: Bench) -> None:
    item = runc(web)
    del web.pages["/v1/runc.amd64"]
    assert auto(bench, [item], [spare(web, "runc")]) == {"runc": "registries"}
    assert "answers HTTP 404" in bench.progress.notes[0]


def test_auto_falls_back_for_what_needs_something_unavailable(web: Web, registry: Registry, bench: Bench) -> None:
    items = cni(web, registry)
    registry.manifests.clear()
    assert auto(bench, list(items), [spare(web, "cni-plugins")]) == {"cni-plugins": "registries"}
    assert any("it needs fc" in note for note in bench.progress.notes)


def test_auto_takes_a_proxys_refusal_for_an_answer(web: Web, bench: Bench) -> None:
    web.put("/", b"blocked", status=403)
    assert auto(bench, [runc(web)], [spare(web, "runc")]) == {"runc": "registries"}
    assert "answers HTTP 403" in bench.progress.notes[0]


def test_auto_never_hides_a_wrong_checksum(web: Web, bench: Bench) -> None:
    with pytest.raises(BundleError, match="has sha256"):
        auto(bench, [runc(web, checksum="1" * 64)], [spare(web, "runc")])


def test_auto_says_what_is_nowhere(bench: Bench) -> None:
    with pytest.raises(BundleError, match="1 artifacts are out of reach and not in the registries catalog") as caught:
        auto(bench, [GONE], [])
    assert caught.value.details[0].startswith("gone: 127.0.0.1:9 does not answer")


def test_auto_leaves_out_what_is_optional_and_says_so(web: Web, bench: Bench) -> None:
    assert auto(bench, [runc(web), GONE.replace("kind:", "optional: true, kind:")], []) == {"runc": "upstream"}
    [note] = bench.progress.notes
    assert note.startswith("gone: left out, since 127.0.0.1:9 does not answer")


def test_auto_takes_what_is_optional_from_where_it_can_be_had(web: Web, bench: Bench) -> None:
    optional = GONE.replace("kind:", "optional: true, kind:")
    assert auto(bench, [optional], [spare(web, "gone")]) == {"gone": "registries"}


def test_auto_asks_nobody_when_all_is_built(web: Web, bench: Bench) -> None:
    items = [runc(web)], [spare(web, "model")]
    first = auto(bench, *items)
    web.requests.clear()
    assert auto(bench, *items) == first
    assert web.requests == []
