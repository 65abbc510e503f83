"""Every mistake ends in one message that names file, line, key, value and remedy, and all come at once."""

from pathlib import Path

import pytest
from ansible import constants
from ansible.parsing.vault import VaultLib, VaultSecret

from llmprov.errors import ExitCode, InventoryError
from llmprov.inventory import load
from tests.unit.inventory.conftest import HOSTS, MODEL, Write


def findings(path: Path) -> str:
    """Load an inventory that must not load; return its findings."""
    with pytest.raises(InventoryError) as caught:
        load(path)
    assert caught.value.exit_code is ExitCode.INVENTORY
    assert caught.value.remedy
    return "\n".join(caught.value.details) or caught.value.message


def test_no_such_inventory(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        load(tmp_path / "nowhere")
    assert "there is no inventory at" in caught.value.message
    assert "llmprov init" in caught.value.remedy


def test_yaml_error_with_line_and_column(write: Write) -> None:
    text = findings(write(group_vars="cluster_name: rack\ncluster_api_port: [1\nx: 2\n", bad="name: [\n"))
    assert "group_vars/all.yml:3:2: YAML error" in text
    assert "models/bad.yml:2:1: YAML error" in text


def test_a_file_that_is_no_text(write: Write) -> None:
    path = write()
    (path / "hosts.yml").write_bytes(b"\xff\xfe\x00")
    assert "hosts.yml: is not UTF-8 text" in findings(path)


def test_a_file_that_is_no_inventory(write: Write) -> None:
    text = findings(write(hosts="all:\n  hosts: [a, b]\n"))
    assert (
        'hosts.yml: is no inventory: Invalid "hosts" entry for "all" group, requires a dictionary, found a list' in text
    )


HOST_CASES = [
    ("cp1: {ansible_host: 10.0.0.21}", "duplicate address, cp1 has it too"),
    ("cp1: {ansible_host: ''}", "host cp1 has no address"),
    ("cp1: {ansible_host: 'not an address'}", "is neither an IP address nor a DNS name"),
    ("CP_1: {ansible_host: 10.0.0.11}", "the host's name is no DNS-1123 name"),
    ("cp1: {ansible_host: 10.0.0.11, ansible_port: 99999}", "ansible_port = 99999: is no TCP port"),
    ("cp1: {ansible_host: 10.0.0.11, ansible_hots: x}", "ansible_hots = 'x': unknown key → did you mean ansible_host?"),
    (
        "cp1: {ansible_host: '{{ nothing }}'}",
        "ansible_host = '{{ nothing }}': cannot be resolved: 'nothing' is undefined",
    ),
    ("cp1: {ansible_host: 10.0.0.11, ansible_ssh_extra_args: '-o \"x'}", "is no command line"),
    ("cp1: {ansible_host: 10.0.0.11, ansible_host_key_checking: false}", "turns the check of host keys off for cp1"),
    (
        "cp1: {ansible_host: 10.0.0.11, ansible_ssh_extra_args: -o StrictHostKeyChecking=no}",
        "turns the check of host keys off",
    ),
    ("cp1: {ansible_host: 10.0.0.11, cluster_pod_cidr: 10.99.0.0/16}", ""),
    ("cp1: {ansible_host: 10.0.0.11}\n            cp1: {ansible_host: 10.0.0.12}", "given twice, first in line"),
]


@pytest.mark.parametrize(("host", "expected"), HOST_CASES)
def test_hosts(write: Write, host: str, expected: str) -> None:
    hosts = HOSTS.replace("cp1: {ansible_host: 10.0.0.11}", host)
    if not expected:
        assert load(write(hosts)).settings.pod_cidr.with_prefixlen == "10.99.0.0/16"
        return
    text = findings(write(hosts))
    assert expected in text
    assert "hosts.yml:" in text


GROUP_CASES = [
    ("all: {children: {workers: {hosts: {gpu1: {ansible_host: 10.0.0.1}}}}}", "no control plane"),
    (
        "all: {children: {control_plain: {hosts: {cp1: {ansible_host: 10.0.0.1}}}}}",
        "control_plain: unknown group → did you mean control_plane?",
    ),
    (
        "all: {children: {control_plane: {hosts: {a: {ansible_host: 10.0.0.1}}}, workers: {hosts: {a: {}}}}}",
        "a: is in control_plane and in workers",
    ),
    (
        "all: {children: {control_plane: {hosts: {a: {ansible_host: 10.0.0.1}}}, gpu_workers: {hosts: {b: {}}}}}",
        "b: is in gpu_workers, which is no child of workers",
    ),
]


@pytest.mark.parametrize(("hosts", "expected"), GROUP_CASES)
def test_groups(write: Write, hosts: str, expected: str) -> None:
    assert expected in findings(write(hosts))


SETTING_CASES = [
    ("clutser_name: x", "group_vars/all.yml:1:1: clutser_name = 'x': unknown key → did you mean cluster_name?"),
    ("whatever: x", "a variable of your own needs a name that starts with x_"),
    ("cluster_gpu_mode: fake", "cluster_gpu_mode = 'fake': must be one of real, simulated"),
    ("cluster_api_port: abc", "cluster_api_port = 'abc': is no int → give a value of type int"),
    ("cluster_pod_cidr: 10.244.0.0/99", "cluster_pod_cidr = '10.244.0.0/99'"),
    ("cluster_pod_cidr: 10.0.0.0/8", "overlaps the address of cp1 (10.0.0.11)"),
    ("cluster_pod_cidr: 10.96.0.0/15", "overlaps cluster_service_cidr 10.96.0.0/16"),
    ("cluster_pod_cidr: 10.244.0.0/23", "has room for 2 nodes, a /24 each; the inventory has 3"),
    ("cluster_pod_cidr: fd00::/48", "is IPv6, and the address of cp1, gpu1, gpu2 is not"),
    ("cluster_service_cidr: 11.0.0.0/8", "is larger than Kubernetes allows → use /12 or smaller"),
    ("cluster_name: Rack_7", "cluster_name = 'Rack_7': is no DNS-1123 name"),
    ("cluster_api_host: 10.0.0.21", "is the address of a host that runs no control plane"),
    ("cluster_first_control_plane: gpu1", "cluster_first_control_plane = 'gpu1': is no host of control_plane"),
    ("cluster_name: '{{ nothing }}'", "cluster_name: cannot be resolved"),
    ("registry_memory_max: [1, 2]\nbase_swap_off: maybe", "base_swap_off = 'maybe': is no bool"),
]


@pytest.mark.parametrize(("group_vars", "expected"), SETTING_CASES)
def test_settings(write: Write, group_vars: str, expected: str) -> None:
    assert expected in findings(write(group_vars=group_vars + "\n"))


def test_a_template_is_checked_by_its_value(write: Write) -> None:
    text = findings(write(group_vars="x_mode: fake\ncluster_gpu_mode: '{{ x_mode }}'\n"))
    assert "cluster_gpu_mode = '{{ x_mode }}': must be one of real, simulated" in text


def test_a_template_that_needs_facts_is_left_to_the_play(write: Write) -> None:
    assert load(write(group_vars="base_swap_off: '{{ ansible_facts.swap }}'\n")).hosts


def test_a_setting_that_differs_between_hosts(write: Write) -> None:
    hosts = HOSTS.replace("ansible_port: 2222", "ansible_port: 2222, cluster_api_port: 7443")
    text = findings(write(hosts, group_vars="cluster_api_port: 6443\n"))
    assert "cluster_api_port: differs between hosts: cp1 has 6443, gpu1 has 7443" in text


MODEL_CASES = [
    ("name: Chat_1\nsource: {artifact: a}", "models/m.yml:1: name = 'Chat_1': is no DNS-1123 label"),
    ("name: chat", "source: is missing"),
    ("name: chat\nserved_name: a b\nsource: {artifact: a}", "served_name = 'a b': is no name that the gateway can"),
    ("name: chat\nsource: {artifact: a, image: b}", "give exactly one of image, artifact"),
    ("name: chat\nsource: {}", "give exactly one of image, artifact"),
    ("name: chat\nsource: {artifact: a}\nreplica: 2", "m.yml:3: replica = 2: unknown key → did you mean replicas?"),
    ("name: chat\nsource: {artifact: a}\nreplicas: -1", "replicas = -1: should be greater than or equal to 0"),
    ("name: chat\nsource: {artifact: a}\nreplicas: two", "replicas = 'two': should be a whole number, or two of them"),
    ("name: chat\nsource: {artifact: a}\nreplicas: true", "replicas = True: should be a whole number"),
    (
        "name: chat\nsource: {artifact: a}\nreplicas: {min: 3, max: 1}",
        "m.yml:3: replicas = {'min': 3, 'max': 1}: min (3) is more",
    ),
    ("name: chat\nsource: {artifact: a}\nreplicas: {min: 0, max: 1}", "min must be at least 1"),
    ("name: chat\nsource: {artifact: a}\nreplicas: {min: 1}", "m.yml:3: replicas.max: is missing → add max"),
    (
        "name: chat\nsource: {artifact: a}\nreplicas: {min: 1, mx: 2}",
        "replicas.mx = 2: unknown key → did you mean max?",
    ),
    (
        "name: chat\nsource: {artifact: a}\nrollout: {strategy: fast}",
        "rollout.strategy = 'fast': should be 'auto', 'surge' or",
    ),
    (
        "name: chat\nsource: {artifact: a}\nautoscaling: {cooldown: 2}",
        "autoscaling.cooldown = 2: unknown key",
    ),
    ("name: chat\nsource: {artifact: a}\nresources: {gpu: 1}", "resources.gpu = 1: unknown key → did you mean gpus?"),
    ("name: chat\nsource: {artifact: a}\nresources: {memory: 8GB}", "resources.memory = '8GB': is no quantity"),
    ("name: chat\nsource: {artifact: a}\nengine: {args: [--port=1]}", "llmprov sets this argument itself → remove it"),
    (
        "name: chat\nsource: {artifact: a}\nengine: {args: [--max_model_len=1]}",
        "remove it and set max_model_len instead",
    ),
    ("- name: chat", "holds no model"),
    ("name: chat\nsource: {artifact: a}\nname: other", "name: given twice, first in line 1"),
    ("name: chat\nsource: {artifact: a}\nresources: {gpus: 3}", "one replica needs more GPUs than any host has (2)"),
]


@pytest.mark.parametrize(("model", "expected"), MODEL_CASES)
def test_models(write: Write, model: str, expected: str) -> None:
    group_vars = "cluster_gpu_mode: simulated\ncluster_simulated_gpus: 2\n"
    assert expected in findings(write(group_vars=group_vars, m=model + "\n"))


def test_models_clash_by_name_and_by_served_name(write: Write) -> None:
    other = "name: other\nserved_name: chat\nsource: {artifact: a}\n"
    text = findings(write(a=MODEL, b=MODEL, c=other))
    assert "models/b.yml:2: name = 'chat': another model has this name: a.yml" in text
    assert "models/c.yml:2: served_name = 'chat': the model of a.yml is served under this name too" in text


def test_a_model_that_needs_gpus_where_there_are_none(write: Write) -> None:
    hosts = "all: {children: {control_plane: {hosts: {a: {ansible_host: 10.0.0.1}}}}}"
    assert "model chat needs GPUs, and group gpu_workers has no host" in findings(write(hosts, m=MODEL))


def test_more_replicas_than_gpus_is_a_warning(write: Write) -> None:
    warnings = load(
        write(group_vars="cluster_gpu_mode: simulated\n", m=MODEL.rstrip() + "\n    replicas: 3\n")
    ).warnings
    assert any("all models need 3 GPUs, the cluster has 2" in line for line in warnings)


def test_everything_at_once(write: Write) -> None:
    hosts = HOSTS.replace("10.0.0.22", "10.0.0.21")
    text = findings(write(hosts, group_vars="clutser_name: x\ncluster_api_port: abc\n", m="name: A_B\nsourc: 1\n"))
    for expected in (
        "duplicate address",
        "clutser_name",
        "cluster_api_port",
        "DNS-1123",
        "sourc = 1",
        "source: is missing",
    ):
        assert expected in text


SECRETS = [
    "ansible_becom_password: hunter2",
    "passwrod: hunter2",
    "api_tokne: hunter2",
    "thing: 'https://user:hunter2@example.com'",
    "thing: {password: hunter2}",
    "thing: [{secret: hunter2}]",
    "hf: hf_hunter2hunter2",
]


@pytest.mark.parametrize("line", SECRETS)
def test_secrets_are_masked(write: Write, line: str) -> None:
    text = findings(write(group_vars=line + "\n"))
    assert "hunter2" not in text
    assert "********" in text


def test_a_secret_in_the_engines_environment_is_a_warning_that_does_not_repeat_it(write: Write) -> None:
    model = MODEL.rstrip() + "\n    engine: {env: {HF_TOKEN: hunter2}}\n"
    warnings = "\n".join(load(write(m=model)).warnings)
    assert "looks like a secret" in warnings
    assert "hunter2" not in warnings


def test_an_encrypted_file_needs_the_vaults_password(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write()
    password = tmp_path / "password"
    password.write_text("right\n", encoding="utf-8")
    secret = path / "host_vars" / "cp1.yml"
    secret.parent.mkdir()
    vault = VaultLib([("default", VaultSecret(b"right"))])
    secret.write_bytes(vault.encrypt("ansible_become_password: hunter2"))
    assert "cannot be decrypted" in findings(path)
    # Ansible reads its settings once, when it is imported.
    monkeypatch.setattr(constants, "DEFAULT_VAULT_PASSWORD_FILE", str(password))
    assert load(path).host("cp1").variables["ansible_become_password"] == "hunter2"
