"""The verbs, from the command line to what they print."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from llmprov import inventory, ssh
from llmprov.bundle.lock import BundleLock
from llmprov.bundle.units import size
from llmprov.cli.main import app
from llmprov.errors import BundleError, ExitCode
from llmprov.workflows import bundle as workflow
from tests.unit.bundle.servers import Registry, Web


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catalogs of two small files, and a cache of one's own."""
    items = []
    for name in ("kubelet", "runc"):
        body = f"{name} program".encode()
        sha256 = hashlib.sha256(body).hexdigest()
        source = f'{{type: url, url: "{web.put(f"/{name}", body)}", sha256: {sha256}}}'
        items.append(f"  - {{name: {name}, kind: file, version: '1', licence: MIT, source: {source}}}\n")
    for catalog in ("upstream", "registries"):
        (tmp_path / f"{catalog}.yml").write_text("artifacts:\n" + "".join(items))
    monkeypatch.setattr(workflow, "catalog_path", lambda name: tmp_path / f"{name}.yml")
    monkeypatch.setenv("LLMPROV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("LLMPROV_PROGRESS", "silent")


def run(*argv: str) -> str:
    """Run a verb that succeeds, and return what it printed."""
    result = CliRunner().invoke(app, ["bundle", *argv], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_build_list_verify(tmp_path: Path) -> None:
    assert "2 files, 0 images, 0 packages, 27 B" in run("build", "--catalog", "upstream")
    printed = run("list")
    assert "kubelet" in printed
    assert "catalog upstream" in printed
    assert {item["name"] for item in json.loads(run("list", "--json"))["artifacts"]} == {"kubelet", "runc"}
    assert "all good" in run("verify")
    document = json.loads(run("verify", "--json"))
    assert (document["ok"], document["bundle"]) == (True, str(tmp_path / "cache" / "bundle"))


def test_build_says_what_it_did(tmp_path: Path) -> None:
    document = json.loads(run("build", "--json", "--jobs", "1", "--output", str(tmp_path / "disk")))
    assert document["bundle"] == str(tmp_path / "disk")
    assert (document["artifacts"], document["bytes"], document["catalog"]) == (2, 27, "auto")


def test_a_partial_build_leaves_the_rest_alone(web: Web, tmp_path: Path) -> None:
    run("build", "--catalog", "upstream", "--only", "runc")
    assert [path for path, _ in web.requests] == ["/runc"]
    assert "1 file," in run("list")
    run("build", "--catalog", "upstream", "--only", "kubelet")
    lock = BundleLock.load(tmp_path / "cache/bundle")
    assert [item.name for item in lock.files] == ["kubelet", "runc"]
    run("build", "--catalog", "upstream", "--only", "kubelet,runc")
    assert BundleLock.load(tmp_path / "cache/bundle") == lock


def test_a_bundle_stays_with_its_catalog() -> None:
    run("build", "--catalog", "registries")
    for options in ([], ["--only", "runc"], ["--only", "runc", "--catalog", "upstream"]):
        assert json.loads(run("build", "--json", *options))["catalog"] == "registries"
    assert json.loads(run("build", "--json", "--catalog", "upstream"))["catalog"] == "upstream"


def test_a_name_that_is_not_in_the_catalog(web: Web) -> None:
    with pytest.raises(BundleError, match="auto catalog has no kublet") as caught:
        run("build", "--only", "kublet")
    assert caught.value.details == ("did you mean kubelet?", "kubelet, runc")
    assert web.requests == []


def test_verify_names_bad_files(tmp_path: Path) -> None:
    run("build", "--catalog", "upstream")
    blob = tmp_path / "cache/bundle/blobs/sha256" / hashlib.sha256(b"runc program").hexdigest()
    blob.unlink()
    with pytest.raises(BundleError, match=r"has 1 bad file$") as caught:
        run("verify")
    assert caught.value.details == (f"blobs/sha256/{blob.name}: missing (runc)",)
    result = CliRunner().invoke(app, ["bundle", "verify", "--json"])
    assert result.exit_code == ExitCode.BUNDLE
    [finding] = json.loads(result.stdout)["findings"]
    assert (finding["problem"], finding["artifacts"]) == ("missing", ["runc"])
    run("build", "--catalog", "upstream")
    assert "all good" in run("verify")


@pytest.mark.parametrize("verb", ["list", "verify"])
def test_without_a_bundle_there_is_a_remedy(verb: str) -> None:
    with pytest.raises(BundleError, match="no bundle in") as caught:
        run(verb)
    assert caught.value.remedy == "llmprov bundle build"


def test_push_to_an_address(registry: Registry) -> None:
    run("build", "--catalog", "upstream")
    assert "pushed llmprov/files:bundle" in run("push", "--to", registry.url)
    document = json.loads(run("push", "--to", registry.url, "--json", "--only-files"))
    assert (document["pushed"], document["sent"]) == (0, 0)
    assert document["items"][0]["state"] == "present"


def test_push_through_ssh(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tunnel ends at the registry's writable port on the first control plane."""
    run("build", "--catalog", "upstream")
    opened: list[tuple[str, str, int]] = []

    @contextmanager
    def tunnel(target: str, host: str, port: int) -> Iterator[int]:
        opened.append((target, host, port))
        yield int(registry.url.rpartition(":")[2])

    hosts = {n: SimpleNamespace(name=n, ssh=f"ssh {n}", variables={"registry_push_port": 5009}) for n in ("w1", "cp1")}
    settings = SimpleNamespace(first_control_plane="cp1", bundle_dir=tmp_path / "cache/bundle")
    monkeypatch.setattr(
        inventory, "load", lambda _path: SimpleNamespace(host=lambda name: hosts[name], settings=settings)
    )
    monkeypatch.setattr(ssh, "tunnel", tunnel)
    assert json.loads(run("push", "-i", "inventories/lab", "--json"))["registry"] == "cp1:5009"
    assert "0 pushed" in run("push", "-i", "inventories/lab")
    assert opened[:1] == [("ssh cp1", "127.0.0.1", 5009)]


@pytest.mark.parametrize("options", [[], ["-i", "inv", "--to", "http://x:1"]])
def test_push_goes_to_one_place(options: list[str]) -> None:
    result = CliRunner().invoke(app, ["bundle", "push", *options])
    assert result.exit_code == ExitCode.USAGE
    assert "either -i INVENTORY or --to URL" in result.output


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_060_000_000, "3.1 GB"), (4e15, "4000.0 TB")]
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text
