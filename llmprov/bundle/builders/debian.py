"""Debian's part: root file systems for images, single files of packages, and the packages that hosts install."""

import re
import shlex
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from llmprov.bundle.builders.aptrepository import AptRepository, gpg_requirement, repository_options
from llmprov.bundle.builders.requirements import Requirement, file_of, program
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Built, BuiltDebs, BuiltFile, Deb, Source
from llmprov.errors import BundleError

_REVISION = "1"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Any constant will do; it keeps the time of the build out of the result.
_EPOCH = "1577836800"
_NOT_IN_IMAGES = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
_COMPILE_PYTHON = (
    'PYTHONHASHSEED=0 chroot "$1" sh -c '
    '"python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3.[0-9]*"'
)
_LICENCES = "/usr/share/doc/*/copyright"
# What mmdebstrap leaves for a system that is to be installed further, some of it of this machine.
_NOT_IN_MINIMAL = re.compile(r"^(\./)?(dev/.|(etc/(apt|dpkg|hostname|resolv\.conf)|var/(cache|lib/apt|lib/dpkg))(/|$))")
# A Debian source without the files that its free-software guidelines forbid: 2.53.3+ds1.
_REPACKED = re.compile(r"\+(ds|dfsg)[0-9.]*$")
_LICENCE_FIELD = re.compile(r"^License:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)


class DebianSource(Source):
    """What all Debian sources share: the suite, and packages of it. Versions are those the archive has today."""

    suite: str = Field(pattern=r"^[a-z]+$")
    packages: tuple[str, ...] = Field(min_length=1)

    def describe(self) -> str:
        """Say the suite and the packages."""
        return f"debian:{self.suite}: {' '.join(self.packages)}"


class RootfsSource(DebianSource):
    """A small root file system as an uncompressed tar: the essential packages and these, without documentation.

    Attributes:
        compile_python: compile Python's own library so that it stays valid whatever becomes of modification times.
        minimal: only these packages and what they depend on, unpacked and not set up: no shell, no package manager.
        exclude: globs of paths to leave out: `/usr/lib/x86_64-linux-gnu/gconv/*`.
    """

    optional: ClassVar[frozenset[str]] = frozenset({"minimal", "exclude"})

    type: Literal["debian-rootfs"] = "debian-rootfs"
    compile_python: bool = False
    minimal: bool = False
    exclude: tuple[str, ...] = ()


class PackageFileSource(DebianSource):
    """One file of the first package, whose upstream version is the artifact's."""

    type: Literal["debian-file"] = "debian-file"
    path: str


class PackagesSource(DebianSource):
    """Packages for hosts, with every dependency that a minimal installation does not have.

    Attributes:
        repository: where some of them come from besides Debian.
    """

    optional: ClassVar[frozenset[str]] = frozenset({"repository"})

    type: Literal["debian-packages"] = "debian-packages"
    repository: AptRepository | None = None

    def describe(self) -> str:
        """Say the repository too."""
        return f"{super().describe()} ({self.repository.url})" if self.repository else super().describe()


class _DebianBuilder:
    """What builders of Debian's part share; needs no root where user namespaces are allowed."""

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:  # noqa: ARG002 - the protocol's names
        """Mmdebstrap, Debian's keys, and the tools of its packages."""
        return (
            program("mmdebstrap", "makes root file systems and asks Debian's archive for packages"),
            program("dpkg-deb", "reads packages", "dpkg"),
            program("apt-get", "resolves dependencies", "apt"),
            file_of(
                _KEYRING.lstrip("/"), "Debian's archive keys", "check what is downloaded", "debian-archive-keyring"
            ),
        )

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's names
        """The way of building."""
        return {"revision": _REVISION}


@dataclass(frozen=True)
class RootfsBuilder(_DebianBuilder):
    """Makes root file systems with mmdebstrap."""

    source_model: type[Source] = RootfsSource

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Install the packages into an empty directory and pack it."""
        source = spec.source_as(RootfsSource)
        context.step.update(f"installing {len(source.packages)} packages of {source.suite}")
        target = context.workdir / "rootfs.tar"
        variant = "extract" if source.minimal else "essential"
        options = [f"--variant={variant}", f"--include={','.join(source.packages)}"]
        options += [f"--dpkgopt=path-exclude={path}" for path in (*_NOT_IN_IMAGES, *source.exclude)]
        options += [f"--dpkgopt=path-include={_LICENCES}"]
        options += ["--customize-hook=rm -rf $1/var/cache/debconf $1/var/lib/dpkg/info/*.md5sums $1/var/log/*"]
        if source.compile_python:
            options.append(f"--customize-hook={_COMPILE_PYTHON}")
        _mmdebstrap(context, source.suite, target, *options)
        if source.minimal:  # hooks do not run when packages are only unpacked
            target = without_members(target, _NOT_IN_MINIMAL)
        return BuiltFile(context.store.put_file(target, move=True))


@dataclass(frozen=True)
class PackageFileBuilder(_DebianBuilder):
    """Takes one file out of a package."""

    source_model: type[Source] = PackageFileSource

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Download the package, unpack it, store the file."""
        source = spec.source_as(PackageFileSource)
        package = source.packages[0]
        script = f"apt-get download {shlex.quote(package)}"
        debs = _with_archive(context, source.suite, script)
        root = context.workdir / "root"
        deb = _only(debs, package)
        if (found := upstream_version(deb.name)) != spec.version:
            raise BundleError(
                f"{source.suite} has {package} {found}, the catalog says {spec.version}",
                remedy="correct the version in the catalog",
            )
        context.run(["dpkg-deb", "--extract", str(deb), str(root)])
        wanted = root / source.path.lstrip("/")
        if not wanted.is_file():
            raise BundleError(f"package {package} has no file {source.path}", remedy="correct path in the catalog")
        return BuiltFile(context.store.put_file(wanted))


@dataclass(frozen=True)
class PackagesBuilder(_DebianBuilder):
    """Collects the packages that hosts of one suite install."""

    source_model: type[Source] = PackagesSource

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:
        """For another repository than Debian's, what checks its key."""
        more = (gpg_requirement(),) if spec.source_as(PackagesSource).repository else ()
        return (*super().requirements(spec), *more)

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Ask apt what the packages need and what a minimal system has; fetch the difference."""
        source = spec.source_as(PackagesSource)
        options = repository_options(source.repository, context) if source.repository else []
        context.step.update(f"resolving dependencies in {source.suite}")
        directory = _with_archive(context, source.suite, packages_script(source.packages), *options)
        paths = sorted(directory.glob("*.deb"))
        if not paths:
            raise BundleError(f"{source.suite}: apt downloaded no package", remedy="read the log of this artifact")
        debs = []
        for number, path in enumerate(paths, start=1):
            context.step.update(path.name, done=number, total=len(paths))
            debs.append(_deb(path, context))
        return BuiltDebs(tuple(debs))


def packages_script(packages: Iterable[str]) -> str:
    """The shell commands that download into the current directory what the packages need over a minimal system.

    apt checks every package against the sha256 of the archive's signed index. Two listings of
    `'http://…/kmod_34.2-2_amd64.deb' kmod_34.2-2_amd64.deb 134000 MD5Sum:…` are compared by their second column.
    """
    minimal = "'?essential' '?priority(required)' apt"
    names = " ".join(shlex.quote(name) for name in packages)
    listing = "apt-get install -y --no-install-recommends --print-uris"
    return (
        f"{listing} {minimal} > ../minimal && {listing} {minimal} {names} > ../wanted && "
        """awk "/^'/ {print \\$2}" ../minimal | sort > ../known && """
        """awk "/^'/ {print \\$2}" ../wanted | sort | comm -23 - ../known > ../missing && """
        "sed -e 's/_[a-z0-9]*[.]deb$//' -e 's/_/=/' -e 's/%3a/:/' ../missing | xargs -r apt-get download"
    )


def without_members(archive: Path, pattern: re.Pattern[str]) -> Path:
    """Copy a tar without the members whose names match; returns the copy, beside it."""
    copy = archive.with_suffix(".less.tar")
    with tarfile.open(archive) as source, tarfile.open(copy, "w", format=tarfile.PAX_FORMAT) as target:
        for info in source:
            if not pattern.match(info.name):
                target.addfile(info, source.extractfile(info) if info.isreg() else None)
    return copy


def upstream_version(filename: str) -> str:
    """The version in a package's file name, without epoch and what Debian adds."""
    version = filename.split("_")[1].replace("%3a", ":")
    return _REPACKED.sub("", version.rpartition(":")[2].partition("-")[0])


def licence_of(copyright_text: str) -> str:
    """The licences that a machine-readable copyright file names, in its order; where to look when it names none."""
    names = dict.fromkeys(_LICENCE_FIELD.findall(copyright_text))
    return " AND ".join(names) if names else "see the package's copyright file"


def _deb(path: Path, context: BuildContext) -> Deb:
    package, version, _ = path.name.removesuffix(".deb").split("_")
    licence = _licence(path, package, context)
    return Deb(package, version.replace("%3a", ":"), path.name, licence, context.store.put_file(path, move=True))


def _licence(path: Path, package: str, context: BuildContext) -> str:
    unpacked = context.workdir / f"{package}.tar"
    context.run(["sh", "-c", 'dpkg-deb --fsys-tarfile "$1" > "$2"', "sh", str(path), str(unpacked)])
    with tarfile.open(unpacked) as archive:
        for info in archive:
            if info.name.lstrip("./") == f"usr/share/doc/{package}/copyright" and (text := archive.extractfile(info)):
                return licence_of(text.read().decode(errors="replace"))
    unpacked.unlink()
    return licence_of("")


def _with_archive(context: BuildContext, suite: str, script: str, *options: str) -> Path:
    """Run a script in an empty directory with an apt that knows the suite, and no package of this machine."""
    result = context.workdir / "debs.tar"
    commands = (
        f'mkdir -p "$1/llmprov/debs" && cd "$1/llmprov/debs" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" && {script}'
    )
    hooks = [f"--customize-hook={commands}", f"--customize-hook=tar-out /llmprov/debs {shlex.quote(str(result))}"]
    _mmdebstrap(context, suite, Path("/dev/null"), "--variant=custom", "--format=null", *options, *hooks)
    with tarfile.open(result) as archive:
        archive.extractall(context.workdir, filter="data")
    return context.workdir / "debs"


def _mmdebstrap(context: BuildContext, suite: str, target: Path, *options: str) -> None:
    sandbox = '--aptopt=APT::Sandbox::User "root"'
    argv = ["mmdebstrap", f"--keyring={_KEYRING}", "--architectures=amd64", sandbox, *options, suite, str(target)]
    context.run(argv, env={"SOURCE_DATE_EPOCH": _EPOCH})


def _only(directory: Path, package: str) -> Path:
    found = sorted(directory.glob(f"{package}_*.deb"))
    if not found:
        raise BundleError(f"the archive gave no package {package}", remedy="correct packages in the catalog")
    return found[0]
