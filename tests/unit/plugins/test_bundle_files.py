"""Module bundle_files: downloads are checked, archives repaired, and nothing half-written is left."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

type Blobs = tuple[str, dict[str, bytes]]
type Loader = Callable[[str, str], ModuleType]


@pytest.fixture
def module(plugin: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = plugin("modules", "bundle_files")
    monkeypatch.setattr(module, "STATE_DIRECTORY", tmp_path / "state")
    return module


def serve(blobs: Blobs, name: str, content: bytes, dest: Path, **extra: Any) -> dict[str, Any]:  # noqa: ANN401
    url, store = blobs
    store[name] = content
    digest = hashlib.sha256(content).hexdigest()
    return {
        "name": name,
        "url": f"{url}/{name}",
        "sha256": digest,
        "dest": str(dest),
        "archive": False,
        "mode": "0755",
    } | extra


def archive(members: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, (content, mode) in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_a_file_is_installed_once(module: ModuleType, blobs: Blobs, tmp_path: Path) -> None:
    spec = serve(blobs, "kubelet", b"program", tmp_path / "bin" / "kubelet")
    assert module._ensure(spec, check=False) == (True, {spec["dest"]: spec["sha256"]})
    assert (tmp_path / "bin" / "kubelet").read_bytes() == b"program"
    assert (tmp_path / "bin" / "kubelet").stat().st_mode & 0o777 == 0o755
    blobs[1].clear()
    assert module._ensure(spec, check=False) == (False, {spec["dest"]: spec["sha256"]})


def test_a_touched_file_is_repaired(module: ModuleType, blobs: Blobs, tmp_path: Path) -> None:
    spec = serve(blobs, "kubelet", b"program", tmp_path / "kubelet")
    module._ensure(spec, check=False)
    (tmp_path / "kubelet").write_bytes(b"something else")
    assert module._ensure(spec, check=False)[0]
    assert (tmp_path / "kubelet").read_bytes() == b"program"


def test_check_mode_needs_no_registry(module: ModuleType, tmp_path: Path) -> None:
    spec = {"name": "x", "url": "http://127.0.0.1:9/x", "sha256": "00", "dest": str(tmp_path / "x"), "archive": False}
    assert module._ensure({**spec, "mode": "0755"}, check=True) == (True, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "says"), [("kubelet", "the bundle says 0000"), ("absent", "404")])
def test_what_is_not_in_the_bundle_is_refused(
    module: ModuleType, blobs: Blobs, tmp_path: Path, name: str, says: str
) -> None:
    spec = serve(blobs, "kubelet", b"program", tmp_path / "bin" / "kubelet")
    spec |= {"url": f"{blobs[0]}/{name}", "sha256": "0000"}
    with pytest.raises(module.ArtifactError, match=says):
        module._ensure(spec, check=False)
    assert list((tmp_path / "bin").iterdir()) == []


def test_programs_of_an_archive_are_found_in_any_folder(module: ModuleType, blobs: Blobs, tmp_path: Path) -> None:
    content = archive({"bin/containerd": (b"a", 0o755), "./ctr": (b"b", 0o755), "LICENSE": (b"l", 0o644)})
    spec = serve(blobs, "containerd", content, tmp_path / "bin", archive=True)
    changed, files = module._ensure(spec, check=False)
    assert changed
    assert sorted(Path(path).name for path in files) == ["containerd", "ctr"]
    assert module._ensure(spec, check=False) == (False, files)


def test_a_touched_program_of_an_archive_is_repaired(module: ModuleType, blobs: Blobs, tmp_path: Path) -> None:
    spec = serve(blobs, "containerd", archive({"ctr": (b"b", 0o755)}), tmp_path / "bin", archive=True)
    module._ensure(spec, check=False)
    (tmp_path / "bin" / "ctr").write_bytes(b"x")
    assert module._ensure(spec, check=False)[0]
    assert (tmp_path / "bin" / "ctr").read_bytes() == b"b"


def test_a_new_version_takes_old_programs_away(module: ModuleType, blobs: Blobs, tmp_path: Path) -> None:
    old = serve(blobs, "cni", archive({"dhcp": (b"d", 0o755), "bridge": (b"1", 0o755)}), tmp_path / "bin", archive=True)
    module._ensure(old, check=False)
    new = serve(blobs, "cni", archive({"bridge": (b"2", 0o755)}), tmp_path / "bin", archive=True)
    module._ensure(new, check=False)
    assert {path.name: path.read_bytes() for path in (tmp_path / "bin").iterdir()} == {"bridge": b"2"}


def test_an_archive_cannot_write_outside_its_directory(module: ModuleType, blobs: Blobs, tmp_path: Path) -> None:
    spec = serve(blobs, "evil", archive({"../../escaped": (b"x", 0o755)}), tmp_path / "a" / "bin", archive=True)
    module._ensure(spec, check=False)
    assert not (tmp_path / "escaped").exists()
    assert (tmp_path / "a" / "bin" / "escaped").exists()


def test_what_is_no_archive_is_named(module: ModuleType, blobs: Blobs, tmp_path: Path) -> None:
    spec = serve(blobs, "cni", b"no archive at all", tmp_path / "bin", archive=True)
    with pytest.raises(module.ArtifactError, match="cni: not a tar archive"):
        module._ensure(spec, check=False)
