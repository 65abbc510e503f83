"""Debian's builders, with real packages and a real apt on an archive of files."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from llmprov.bundle.builders.debian import (
    PackageFileBuilder,
    PackageFileSource,
    PackagesBuilder,
    PackagesSource,
    RootfsBuilder,
    RootfsSource,
    licence_of,
    packages_script,
    upstream_version,
)
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, BuiltDebs, BuiltFile
from llmprov.bundle.recipes import recipe_key
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError

needs_apt = pytest.mark.skipif(
    not (shutil.which("apt-get") and shutil.which("dpkg-deb")), reason="needs Debian's package tools"
)

# Runs the hooks as mmdebstrap does: with the target directory as the argument, and apt's configuration in a variable.
FAKE_MMDEBSTRAP = """#!/usr/bin/env python3
import json, os, pathlib, subprocess, sys, tarfile
here = pathlib.Path(os.environ["FAKE_STATE"])
with (here / "calls").open("a") as calls:
    calls.write(json.dumps({"argv": sys.argv[1:], "epoch": os.environ.get("SOURCE_DATE_EPOCH")}) + "\\n")
root = here / "chroot"
root.mkdir(exist_ok=True)
os.environ["MMDEBSTRAP_APT_CONFIG"] = str(here / "apt.conf")
for option in sys.argv[1:]:
    hook = option.removeprefix("--customize-hook=")
    if hook == option:
        continue
    if hook.startswith("tar-out "):
        _, inside, outside = hook.split()
        with tarfile.open(outside, "w") as archive:
            archive.add(root / inside.strip("/"), arcname=pathlib.Path(inside).name)
    elif "llmprov" in hook:
        code = subprocess.run(["sh", "-c", hook, "sh", str(root)]).returncode
        if code:
            sys.exit(code)
target = pathlib.Path(sys.argv[-1])
if "--variant=extract" in sys.argv:
    with tarfile.open(target, "w") as archive:
        for name in ("./etc/hostname", "./dev/null", "./etc/os-release", "./etc/apt/sources.list", "./etc/aptitude"):
            archive.addfile(tarfile.TarInfo(name))
        archive.add(__file__, "./usr/lib/libc.so.6")
        link = tarfile.TarInfo("./lib")
        link.type, link.linkname = tarfile.SYMTYPE, "usr/lib"
        archive.addfile(link)
elif target.suffix == ".tar":
    target.write_bytes(b"a root file system")
"""

PACKAGES: Mapping[str, tuple[str, str]] = {
    "base": ("1.0", "Essential: yes\nPriority: required\nDepends: libbase\n"),
    "libbase": ("2.0", "Priority: optional\n"),
    "apt": ("3.0", "Priority: optional\n"),
    "tool": ("1:4.0-1+b2", "Priority: optional\nDepends: libtool1, libbase\nRecommends: extra\n"),
    "libtool1": ("5.0", "Priority: optional\n"),
    "extra": ("6.0", "Priority: optional\n"),
    "other": ("7.0", "Priority: optional\n"),
}
COPYRIGHT = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+\n"


def make_package(directory: Path, name: str, version: str, fields: str) -> str:
    """Build a package and return its stanza of the index."""
    root = directory / name
    for path, content in {
        "DEBIAN/control": f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: t <t@t>\n"
        f"Description: test\n{fields}",
        f"usr/share/doc/{name}/copyright": COPYRIGHT,
        f"usr/bin/{name}": "#!/bin/sh\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    archive = directory / f"{name}_{version.partition(':')[2] or version}_amd64.deb"
    subprocess.run(["dpkg-deb", "--build", "-Znone", str(root), str(archive)], check=True, capture_output=True)
    data = archive.read_bytes()
    control = (root / "DEBIAN/control").read_text()
    return f"{control}Filename: ./{archive.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flat archive."""
    repository = tmp_path_factory.mktemp("packages") / "repository"
    stanzas = [make_package(repository, name, *rest) for name, rest in PACKAGES.items()]
    (repository / "Packages").write_text("\n".join(stanzas))
    return repository


@pytest.fixture
def archive(tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the archive, an apt that knows only it, and a mmdebstrap that runs hooks."""
    repository = tmp_path / "repository"
    shutil.copytree(packages, repository)
    state = tmp_path / "apt"
    for directory in ("etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d", "lists/partial", "cache"):
        (state / directory).mkdir(parents=True)
    (state / "status").write_text("")
    (state / "etc/sources.list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir "/";\nDir::State::status "{state}/status";\nDir::State::Lists "{state}/lists";\n'
        f'Dir::Cache "{state}/cache";\nDir::Etc "{state}/etc";\nAPT::Architecture "amd64";\n'
        'APT::Sandbox::User "root";\nDebug::NoLocking "true";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    subprocess.run(["apt-get", "update", "-q"], check=True, capture_output=True)
    monkeypatch.delenv("APT_CONFIG")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mmdebstrap").write_text(FAKE_MMDEBSTRAP)
    (programs / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("FAKE_STATE", str(tmp_path))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return tmp_path


def packages_spec(*names: str) -> ArtifactSpec:
    source = PackagesSource(suite="trixie", packages=names)
    return ArtifactSpec(name="debs", kind="debs", version="trixie", suite="trixie", licence="various", source=source)


def context(store: BlobStore, tmp_path: Path) -> BuildContext:
    workdir = tmp_path / "work"
    workdir.mkdir()
    return BuildContext(store=store, workdir=workdir)


@needs_apt
def test_hosts_get_what_a_minimal_system_lacks(archive: Path, store: BlobStore, tmp_path: Path) -> None:
    built = PackagesBuilder().build(packages_spec("tool"), context(store, tmp_path))
    assert isinstance(built, BuiltDebs)
    assert {deb.package: deb.version for deb in built.debs} == {"tool": "1:4.0-1+b2", "libtool1": "5.0"}
    assert {deb.licence for deb in built.debs} == {"GPL-2+"}
    (tool,) = (deb for deb in built.debs if deb.package == "tool")
    original = archive / "repository" / "tool_4.0-1+b2_amd64.deb"
    assert store.path(tool.blob.sha256).read_bytes() == original.read_bytes()


@needs_apt
@pytest.mark.usefixtures("archive")
def test_an_unknown_package_is_an_error_with_apts_own_words(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        PackagesBuilder().build(packages_spec("tool", "nonesuch"), context(store, tmp_path))
    assert any("nonesuch" in line for line in caught.value.details)


@needs_apt
def test_a_changed_package_is_refused_by_apt(archive: Path, store: BlobStore, tmp_path: Path) -> None:
    package = archive / "repository" / "libtool1_5.0_amd64.deb"
    package.write_bytes(package.read_bytes()[:-1] + b"X")
    with pytest.raises(BundleError) as caught:
        PackagesBuilder().build(packages_spec("tool"), context(store, tmp_path))
    assert any("Hash Sum mismatch" in line for line in caught.value.details)


@needs_apt
def test_one_file_of_a_package(archive: Path, store: BlobStore, tmp_path: Path) -> None:
    source = PackageFileSource(suite="trixie", packages=("tool",), path="usr/bin/tool")
    spec = ArtifactSpec(name="tool", kind="file", version="4.0", licence="GPL-2.0-or-later", source=source)
    built = PackageFileBuilder().build(spec, context(store, tmp_path))
    assert isinstance(built, BuiltFile)
    assert store.path(built.blob.sha256).read_text() == "#!/bin/sh\n"
    missing = spec.model_copy(update={"source": source.model_copy(update={"path": "usr/bin/none"})})
    shutil.rmtree(tmp_path / "work")
    shutil.rmtree(archive / "chroot")
    with pytest.raises(BundleError, match="has no file usr/bin/none"):
        PackageFileBuilder().build(missing, context(store, tmp_path))


@needs_apt
@pytest.mark.usefixtures("archive")
def test_a_package_of_another_version_than_the_catalogs_is_refused(store: BlobStore, tmp_path: Path) -> None:
    source = PackageFileSource(suite="trixie", packages=("tool",), path="usr/bin/tool")
    spec = ArtifactSpec(name="tool", kind="file", version="3.9", licence="GPL-2.0-or-later", source=source)
    with pytest.raises(BundleError, match=r"trixie has tool 4\.0, the catalog says 3\.9"):
        PackageFileBuilder().build(spec, context(store, tmp_path))


def test_the_upstream_version_is_between_epoch_and_revision() -> None:
    assert upstream_version("conntrack_1%3a1.4.8-2_amd64.deb") == "1.4.8"
    assert upstream_version("catatonit_0.2.1-2+b6_amd64.deb") == "0.2.1"
    assert upstream_version("netbase_6.5_all.deb") == "6.5"
    assert upstream_version("prometheus_2.53.3+ds1-2_amd64.deb") == "2.53.3"


@pytest.mark.usefixtures("archive")
def test_a_rootfs_does_not_know_the_time_it_was_made(store: BlobStore, tmp_path: Path) -> None:
    source = RootfsSource(suite="trixie", packages=("python3",), compile_python=True)
    spec = ArtifactSpec(name="rootfs", kind="file", version="trixie", licence="various", source=source)
    built = RootfsBuilder().build(spec, context(store, tmp_path))
    assert isinstance(built, BuiltFile)
    assert store.path(built.blob.sha256).read_bytes() == b"a root file system"
    call = (tmp_path / "calls").read_text()
    assert '"epoch": "1577836800"' in call
    assert "--include=python3" in call
    assert "unchecked-hash" in call
    assert str(tmp_path / "work") in call


@pytest.mark.usefixtures("archive")
def test_a_minimal_rootfs_is_unpacked_only_and_knows_nothing_of_this_machine(store: BlobStore, tmp_path: Path) -> None:
    source = RootfsSource(suite="trixie", packages=("base-files", "libc6"), minimal=True, exclude=("/usr/lib/gconv/*",))
    spec = ArtifactSpec(name="rootfs", kind="file", version="trixie", licence="various", source=source)
    built = RootfsBuilder().build(spec, context(store, tmp_path))
    assert isinstance(built, BuiltFile)
    with tarfile.open(store.path(built.blob.sha256)) as root:
        assert root.getnames() == ["./etc/os-release", "./etc/aptitude", "./usr/lib/libc.so.6", "./lib"]
        content = root.extractfile("./usr/lib/libc.so.6")
        assert content is not None
        assert content.read().decode() == FAKE_MMDEBSTRAP
        assert root.getmember("./lib").linkname == "usr/lib"
    assert "--dpkgopt=path-exclude=/usr/lib/gconv/*" in (tmp_path / "calls").read_text()


def test_an_attribute_that_came_later_counts_only_when_it_is_set() -> None:
    def key(source: RootfsSource) -> str:
        spec = ArtifactSpec(name="rootfs", kind="file", version="trixie", licence="various", source=source)
        return recipe_key(spec, {}, {})

    plain = RootfsSource(suite="trixie", packages=("libc6",))
    assert key(plain) == key(plain.model_copy(update={"minimal": False}))
    assert key(plain) != key(plain.model_copy(update={"minimal": True}))
    assert key(plain) != key(plain.model_copy(update={"compile_python": True}))
    # Of the form in which recipes are kept in caches since the first release.
    document = {
        "revision": "1",
        "spec": {
            "name": "rootfs",
            "kind": "file",
            "version": "trixie",
            "source": {
                "type": "debian-rootfs",
                "suite": "trixie",
                "packages": ["libc6"],
                "compile_python": False,
            },
            "suite": None,
        },
        "inputs": {},
        "needs": {},
    }
    assert key(plain) == hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def test_the_licence_is_read_from_the_copyright_file() -> None:
    assert licence_of("License: GPL-2+\n text\n\nLicense: Expat\n\nLicense: GPL-2+\n") == "GPL-2+ AND Expat"
    assert licence_of("It was downloaded from somewhere.") == "see the package's copyright file"


def test_package_names_cannot_run_commands() -> None:
    assert "'a; rm -rf /'" in packages_script(["a; rm -rf /"])


def test_requirements_name_the_keyring() -> None:
    names = {need.name for need in PackagesBuilder().requirements(packages_spec("tool"))}
    assert names == {"mmdebstrap", "dpkg-deb", "apt-get", "Debian's archive keys"}
