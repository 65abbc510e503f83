"""What llmprov ships fits together: inventories validate, schemas and roles agree, `init` writes what `load` takes."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llmprov.cli.main import app
from llmprov.errors import ExitCode, InventoryError
from llmprov.inventory import ClusterSettings, ModelSpec, load
from llmprov.inventory.schema import cluster_schema, model_schema
from llmprov.inventory.variables import role_specs
from llmprov.paths import content_root
from llmprov.workflows.init import init

# Has no type stubs; ansible-lint brings it.
jsonschema = importlib.import_module("jsonschema")
EXAMPLE = content_root() / "inventories" / "example"


def test_the_example_is_a_valid_production_rack() -> None:
    inventory = load(EXAMPLE)
    assert len(inventory.control_plane) == 3
    assert len(inventory.gpu_workers) == 4
    assert inventory.settings.gpu_mode == "real"
    assert inventory.settings.api_host not in {host.node_address for host in inventory.hosts}
    assert sum(model.resources.gpus * model.replicas.max for model in inventory.models) <= 4 * 8
    assert inventory.warnings == ()


def test_every_line_of_the_example_that_sets_something_is_explained() -> None:
    lines = (EXAMPLE / "group_vars" / "all.yml").read_text(encoding="utf-8").splitlines()
    blocks = "\n".join(lines).split("\n\n")
    assert all(block.lstrip("-\n").startswith("#") for block in blocks if block.strip())


def test_the_labs_settings_validate(tmp_path: Path) -> None:
    lab = content_root() / "inventories" / "lab"
    for part in ("group_vars", "models"):
        (tmp_path / part).symlink_to(lab / part)
    (tmp_path / "hosts.yml").write_text(
        "all: {children: {control_plane: {hosts: {cp1: {ansible_host: 10.0.0.1}}},"
        " workers: {children: {gpu_workers: {hosts: {gpu1: {ansible_host: 10.0.0.2}}}}}}}",
        encoding="utf-8",
    )
    inventory = load(tmp_path)
    assert inventory.settings.gpu_mode == "simulated"
    assert inventory.models


@pytest.mark.parametrize("file", sorted(content_root().glob("inventories/*/models/*.yml")), ids=lambda file: file.name)
def test_model_files_fit_the_published_schema(file: Path) -> None:
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    jsonschema.validate(document, model_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "replica": 1}, model_schema())


@pytest.mark.parametrize(
    "file", sorted(content_root().glob("inventories/*/group_vars/all.yml")), ids=lambda file: file.parts[-3]
)
def test_group_variables_fit_the_published_schema(file: Path) -> None:
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    jsonschema.validate(document, cluster_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "clutser_name": "x"}, cluster_schema())


def test_every_key_of_a_model_is_described() -> None:
    def undescribed(schema: dict[str, object], path: str = "") -> list[str]:
        properties = schema.get("properties")
        assert isinstance(properties, dict)
        return [f"{path}{name}" for name, part in properties.items() if not ({"description", "$ref"} & part.keys())]

    schema = ModelSpec.model_json_schema()
    assert undescribed(schema) == []
    for name, part in schema["$defs"].items():
        assert undescribed(part, f"{name}.") == []


def test_every_setting_is_a_variable_of_the_role() -> None:
    assert {f"cluster_{field}" for field in ClusterSettings.model_fields} <= role_specs().keys()


def test_every_role_variable_is_described_and_typed() -> None:
    for name, spec in role_specs().items():
        assert spec.get("description"), name
        assert spec.get("type"), name


def test_init_needs_only_addresses(tmp_path: Path) -> None:
    files = init(tmp_path / "new", user="ops", cluster_name="rack-1")
    assert all(file.is_file() for file in files)
    with pytest.raises(InventoryError) as caught:
        load(tmp_path / "new")
    assert len(caught.value.details) == 3
    assert all("has no address → fill in" in line for line in caught.value.details)
    hosts = tmp_path / "new" / "hosts.yml"
    filled = hosts.read_text(encoding="utf-8")
    for number in (1, 2, 3):
        filled = filled.replace('ansible_host: ""', f"ansible_host: 10.0.0.{number}", 1)
    hosts.write_text(filled, encoding="utf-8")
    assert load(tmp_path / "new").settings.name == "rack-1"


def test_init_with_addresses_validates_at_once(tmp_path: Path) -> None:
    addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "big=10.0.0.4", "gpu.rack.example"]
    init(tmp_path / "new", addresses=addresses, control_planes=3, user="o'ps: x", cluster_name="rack")
    inventory = load(tmp_path / "new")
    assert [host.name for host in inventory.hosts] == ["cp1", "cp2", "cp3", "big", "gpu2"]
    assert inventory.hosts[0].user == "o'ps: x"


def test_the_model_that_init_shows_is_valid(tmp_path: Path) -> None:
    init(tmp_path, addresses=["10.0.0.1", "10.0.0.2"], user="ops", cluster_name="c")
    (tmp_path / "models" / "model.yml.example").rename(tmp_path / "models" / "chat.yml")
    assert load(tmp_path).model("chat").resources.gpus == 1


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("mine", encoding="utf-8")
    with pytest.raises(InventoryError, match=r"is in use: it has hosts\.yml"):
        init(tmp_path, user="ops", cluster_name="c")
    assert [file.name for file in tmp_path.iterdir()] == ["hosts.yml"]
    assert (tmp_path / "hosts.yml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("addresses", "control_planes", "name", "expected"),
    [
        (["10.0.0.1"], 3, "c", "1 hosts cannot hold 3 control planes"),
        (["Big=10.0.0.1"], 1, "c", "no DNS-1123 name: 'Big'"),
        (["10.0.0.1"], 1, "My Cluster", "no DNS-1123 name: 'My Cluster'"),
    ],
)
def test_init_refuses(tmp_path: Path, addresses: list[str], control_planes: int, name: str, expected: str) -> None:
    with pytest.raises(InventoryError, match=expected):
        init(tmp_path / "new", addresses=addresses, control_planes=control_planes, user="ops", cluster_name=name)
    assert not (tmp_path / "new").exists()


def test_what_init_writes_ignores_models_for_plain_ansible(tmp_path: Path) -> None:
    init(tmp_path, addresses=["10.0.0.1", "10.0.0.2"], user="ops", cluster_name="c")
    (tmp_path / "models" / "model.yml.example").rename(tmp_path / "models" / "chat.yml")
    inventory = Path(sys.executable).parent / "ansible-inventory"
    done = subprocess.run(
        [str(inventory), "-i", ".", "--list"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["control_plane"] == {"hosts": ["cp1"]}
    assert "WARNING" not in done.stderr


def run(*arguments: str) -> int:
    """Run a verb in this process; return its exit code."""
    try:
        return int(app(arguments, standalone_mode=False) or 0)
    except InventoryError as error:
        return int(error.exit_code)


def test_the_verbs_print_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("init", str(tmp_path / "new"), "--hosts", "10.0.0.1,10.0.0.2", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == 5
    assert run("inventory", "validate", "-i", str(tmp_path / "new"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["hosts"] == 2
    assert run("inventory", "show", "-i", str(EXAMPLE), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["settings"]["name"] == "rack-7"
    assert document["hosts"][0]["node_address"] == "10.20.8.11"
    for kind in ("model", "cluster"):
        assert run("inventory", "schema", kind) == 0
        assert json.loads(capsys.readouterr().out)["properties"]


def test_the_verbs_print_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("init", str(tmp_path / "new")) == 0
    assert "fill in the addresses" in capsys.readouterr().out
    assert run("inventory", "validate", "-i", str(tmp_path / "new")) == ExitCode.INVENTORY
    assert run("preflight", "-i", str(tmp_path / "new")) == ExitCode.INVENTORY
    assert run("inventory", "validate", "-i", str(EXAMPLE)) == 0
    assert "valid (hosts 7, control plane 3, gpu workers 4, models 2)" in capsys.readouterr().out
    assert run("inventory", "show", "-i", str(EXAMPLE)) == 0
    shown = capsys.readouterr().out
    assert "cluster_pod_cidr" in shown
    assert "llama-3-3-70b" in shown
