import errno
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llmprov.bundle.build import Artifact, Workshop, build_artifacts, cached, disk_error
from llmprov.bundle.catalog import (
    ArtifactSpec,
    BuildContext,
    BuilderRegistry,
    Built,
    BuiltDebs,
    BuiltFile,
    BuiltImage,
    Deb,
    Source,
)
from llmprov.bundle.catalog_file import Catalog
from llmprov.bundle.graph import run_graph
from llmprov.bundle.layers import TarEntry, tar_layer
from llmprov.bundle.oci import write_image
from llmprov.bundle.turns import build_turn
from llmprov.errors import BundleError
from tests.unit.bundle.conftest import RecordingProgress


class TextSource(Source):
    """Some text."""

    type: str = "text"
    text: str = ""


@dataclass
class TextBuilder:
    """Files from text, images and packages from the files they need; counts what it builds."""

    source_model: type[Source] = TextSource
    revision: str = "1"
    built: list[str] = field(default_factory=list)
    fail: dict[str, Exception] = field(default_factory=dict)

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's names
        """The revision."""
        return {"revision": self.revision}

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Count, fail if told to, build."""
        self.built.append(spec.name)
        assert list(context.workdir.iterdir()) == []
        (context.workdir / "scratch").write_text("x")
        if spec.name in self.fail:
            raise self.fail[spec.name]
        if spec.kind == "image":
            files = [name for name, built in context.needs.items() if isinstance(built, BuiltFile)]
            entries = [TarEntry(name, source=context.file(name)) for name in files]
            return BuiltImage(write_image(context.store, [tar_layer(context.store, entries)]))
        blob = context.store.put_bytes(spec.source_as(TextSource).text.encode())
        if spec.kind == "debs":
            return BuiltDebs((Deb("nftables", "1.1", "nftables_1.1_amd64.deb", "GPL-2.0-only", blob),))
        return BuiltFile(blob)


def file(name: str, text: str = "x", *, needs: tuple[str, ...] = ()) -> ArtifactSpec:
    source = TextSource(text=text)
    return ArtifactSpec(name=name, kind="file", version="1", licence="MIT", source=source, needs=needs)


def image(name: str, *needs: str) -> ArtifactSpec:
    ref = f"llmprov.internal/{name}:1"
    return ArtifactSpec(name=name, kind="image", version="1", licence="MIT", source=TextSource(), ref=ref, needs=needs)


def catalog(*specs: ArtifactSpec) -> Catalog:
    return Catalog(name="test", versions={}, artifacts=specs)


@pytest.fixture
def builder() -> TextBuilder:
    return TextBuilder()


@pytest.fixture
def workshop(tmp_path: Path, builder: TextBuilder, progress: RecordingProgress) -> Workshop:
    return Workshop(tmp_path / "cache", BuilderRegistry([builder]), progress, jobs=2)


def build(workshop: Workshop, which: Catalog) -> tuple[Artifact, ...]:
    return build_artifacts(workshop, which, tuple(spec.name for spec in which.artifacts))


def test_what_was_built_is_looked_up(workshop: Workshop, builder: TextBuilder, progress: RecordingProgress) -> None:
    which = catalog(file("etcd-program"), image("etcd", "etcd-program"))
    first = build(workshop, which)
    assert builder.built == progress.steps == ["etcd-program", "etcd"]
    assert build(workshop, which) == first
    assert builder.built == ["etcd-program", "etcd"]
    assert cached(workshop, which, "etcd") == first[1].built


def test_an_image_says_what_it_is_made_of(workshop: Workshop) -> None:
    artifact = build(workshop, catalog(file("etcd-program"), image("etcd", "etcd-program")))[1]
    assert artifact.source == "text (etcd-program: text)"


def test_a_change_rebuilds_only_what_it_touches(workshop: Workshop, builder: TextBuilder) -> None:
    build(workshop, catalog(file("a", "1"), file("b", "1"), image("i", "a"), image("j", "b")))
    builder.built.clear()
    build(workshop, catalog(file("a", "2"), file("b", "1"), image("i", "a"), image("j", "b")))
    assert builder.built == ["a", "i"]


def test_an_input_of_the_builder_is_part_of_the_recipe(workshop: Workshop, builder: TextBuilder) -> None:
    build(workshop, catalog(file("a")))
    builder.revision = "2"
    assert cached(workshop, catalog(file("a")), "a") is None
    build(workshop, catalog(file("a")))
    assert builder.built == ["a", "a"]


def test_a_rebuild_to_the_same_bytes_goes_no_further(workshop: Workshop, builder: TextBuilder) -> None:
    build(workshop, catalog(file("a", "1"), image("i", "a")))
    changed = file("a", "1").model_copy(update={"version": "2"})
    build(workshop, catalog(changed, image("i", "a")))
    assert builder.built == ["a", "i", "a"]


def test_licence_and_reference_do_not_rebuild(workshop: Workshop, builder: TextBuilder) -> None:
    build(workshop, catalog(file("a"), image("i", "a")))
    other = image("i", "a").model_copy(update={"licence": "BSD-3-Clause", "ref": "example.org/i:2"})
    assert build(workshop, catalog(file("a"), other))[1].spec.ref == "example.org/i:2"
    assert builder.built == ["a", "i"]


@pytest.mark.parametrize("damage", ["truncate", "delete", "change"])
def test_a_damaged_blob_is_built_again(workshop: Workshop, builder: TextBuilder, damage: str) -> None:
    built = build(workshop, catalog(file("a", "hello")))[0].built
    assert isinstance(built, BuiltFile)
    path = workshop.store.path(built.blob.sha256)
    path.chmod(0o644)
    path.unlink() if damage == "delete" else path.write_text("hel" if damage == "truncate" else "hallo")
    assert build(workshop, catalog(file("a", "hello")))[0].built == built
    assert path.read_text() == "hello"
    assert builder.built == ["a", "a"]


def test_an_image_without_its_layer_is_built_again(workshop: Workshop, builder: TextBuilder) -> None:
    which = catalog(file("a"), image("i", "a"))
    artifact = build(workshop, which)[1]
    assert isinstance(artifact.built, BuiltImage)
    workshop.store.path(artifact.built.descriptor.digest).unlink()
    build(workshop, which)
    assert builder.built == ["a", "i", "i"]


def test_a_broken_recipe_file_is_built_again(workshop: Workshop, builder: TextBuilder) -> None:
    build(workshop, catalog(file("a")))
    for path in (workshop.cache / "recipes").iterdir():
        path.write_text("{")
    build(workshop, catalog(file("a")))
    assert builder.built == ["a", "a"]


def test_all_failures_are_told_and_the_rest_is_built(workshop: Workshop, builder: TextBuilder) -> None:
    builder.fail = {
        "a": BundleError("no compiler", remedy="apt install gcc", details=("line 1",)),
        "b": BundleError("HTTP 404", remedy="check the version"),
    }
    which = catalog(file("a"), file("b"), file("c"), image("i", "a"), image("j", "i"), image("k", "c"))
    with pytest.raises(BundleError, match="2 artifacts could not be built") as caught:
        build(workshop, which)
    assert caught.value.details == (
        "a: no compiler",
        "  line 1",
        "b: HTTP 404",
        "i: not built, it needs a",
        "j: not built, it needs a",
    )
    assert caught.value.remedy == "apt install gcc; check the version"
    assert {"c", "k"} <= set(builder.built)
    builder.fail = {}
    builder.built.clear()
    build(workshop, which)
    assert sorted(builder.built) == ["a", "b", "i", "j"]


def test_one_failure_is_told_as_it_is(workshop: Workshop, builder: TextBuilder) -> None:
    builder.fail = {"a": BundleError("HTTP 404", remedy="check")}
    with pytest.raises(BundleError, match=r"^a: HTTP 404$"):
        build(workshop, catalog(file("a"), file("b")))


def test_a_full_disk_says_so(workshop: Workshop, builder: TextBuilder) -> None:
    with pytest.raises(OSError, match="No space") as full, Path("/dev/full").open("wb", buffering=0) as sink:
        sink.write(b"x")
    builder.fail = {"a": full.value}
    with pytest.raises(BundleError, match=r"is full \(\d+\.\d .B free\)") as caught:
        build(workshop, catalog(file("a")))
    assert "LLMPROV_CACHE_DIR" in caught.value.remedy


def test_other_disk_trouble_names_the_path(tmp_path: Path) -> None:
    error = disk_error(PermissionError(errno.EACCES, "Permission denied", "/srv/bundle"), tmp_path)
    assert error.message == "/srv/bundle: Permission denied"


def test_nothing_is_left_in_the_workroom(workshop: Workshop, builder: TextBuilder) -> None:
    builder.fail = {"b": BundleError("no")}
    with pytest.raises(BundleError):
        build(workshop, catalog(file("a"), file("b")))
    assert list((workshop.store.root / "tmp").iterdir()) == []


def test_a_circle_is_named() -> None:
    with pytest.raises(BundleError, match=r"in a circle: [ab] → [ab] → [ab]"):
        run_graph({"a": ("b",), "b": ("a",)}, lambda name, _done: name, jobs=1, cancelled=threading.Event())


def test_an_undeclared_need_is_named(workshop: Workshop) -> None:
    context = BuildContext(workshop.store, workshop.cache)
    with pytest.raises(BundleError, match="'etcd' is not a file among the needed"):
        context.file("etcd")
    with pytest.raises(BundleError, match="'etcd' is not an image among the needed"):
        context.image("etcd")


def test_an_interrupt_stops_the_rest() -> None:
    cancelled = threading.Event()
    done: list[str] = []

    def work(name: str, _results: Mapping[str, str]) -> str:
        if name == "a":
            raise KeyboardInterrupt
        cancelled.wait(5)
        done.append(name)
        return name

    needs: dict[str, tuple[str, ...]] = dict.fromkeys("abcdef", ())
    with pytest.raises(KeyboardInterrupt):
        run_graph(needs, work, jobs=2, cancelled=cancelled)
    assert cancelled.is_set()
    assert len(done) <= 2


def test_independent_work_runs_at_once() -> None:
    meeting = threading.Barrier(2, timeout=5)
    outcome = run_graph({"a": (), "b": ()}, lambda _name, _done: meeting.wait(), jobs=2, cancelled=threading.Event())
    assert sorted(outcome.done.values()) == [0, 1]


def test_programs_write_to_the_log(tmp_path: Path, workshop: Workshop) -> None:
    context = BuildContext(workshop.store, tmp_path, log=tmp_path / "logs" / "a.log")
    assert context.run(["sh", "-c", "echo out; echo err >&2; echo $X"], env={"X": "y"}) == "out\nerr\ny\n"
    assert (tmp_path / "logs" / "a.log").read_text().startswith("$ sh -c")
    with pytest.raises(BundleError, match=r"sh failed with exit code 3; full output: .*a\.log") as caught:
        context.run(["sh", "-c", "echo reason; exit 3"])
    assert caught.value.details == ("reason",)
    with pytest.raises(BundleError) as full:
        context.run(["sh", "-c", "head -c 1 /dev/zero > /dev/full"])
    assert "free some space" in full.value.remedy
    with pytest.raises(BundleError, match="the program no-such-program is not installed"):
        context.run(["no-such-program"])


def test_builds_take_turns(tmp_path: Path, progress: RecordingProgress) -> None:
    order: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait(5)
        with build_turn(tmp_path, progress):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with build_turn(tmp_path, RecordingProgress()):
        inside.set()
        while not progress.steps:
            thread.join(0.005)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
    assert progress.steps == ["waiting"]
