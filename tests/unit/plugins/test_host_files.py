"""Module host_files and the removal that other modules share."""

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

type Loader = Callable[[str, str], ModuleType]


@pytest.fixture
def module(plugin: Loader) -> ModuleType:
    return plugin("modules", "host_files")


def spec(path: Path, content: str, mode: str = "0644") -> dict[str, str]:
    owner, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    return {"path": str(path), "content": content, "mode": mode, "owner": owner, "group": group}


def test_a_file_and_its_directories_are_made_once(module: ModuleType, tmp_path: Path) -> None:
    wanted = spec(tmp_path / "a" / "b" / "file", "text\n", "0600")
    difference = module._ensure_file(wanted, check=False)
    assert (difference["before"], difference["after"]) == ("", "text\n")
    assert (tmp_path / "a" / "b" / "file").read_text() == "text\n"
    assert (tmp_path / "a" / "b" / "file").stat().st_mode & 0o777 == 0o600
    assert module._ensure_file(wanted, check=False) is None


def test_check_mode_shows_the_difference_and_writes_nothing(module: ModuleType, tmp_path: Path) -> None:
    assert module._ensure_file(spec(tmp_path / "none" / "file", "text\n"), check=True)["after"] == "text\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["content", "mode", "link"])
def test_drift_is_repaired(module: ModuleType, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "file"
    wanted = spec(path, "text\n")
    module._ensure_file(wanted, check=False)
    if damage == "content":
        path.write_text("other\n")
    elif damage == "mode":
        path.chmod(0o666)
    else:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    assert module._ensure_file(wanted, check=False) is not None
    assert path.read_text() == "text\n"
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o644


def test_absent_removes_files_trees_and_broken_links(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").write_text("x")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name in ("file", "tree", "broken"):
        assert module._ensure_absent(tmp_path / name, check=True)
        assert module._ensure_absent(tmp_path / name, check=False)
        assert not module._ensure_absent(tmp_path / name, check=False)
    assert list(tmp_path.iterdir()) == []


def test_removing_a_link_leaves_what_it_points_at(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "keep").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert module._ensure_absent(tmp_path / "link", check=False)
    assert (tmp_path / "data" / "keep").exists()


def test_a_failed_write_leaves_the_old_file(plugin: Loader, tmp_path: Path) -> None:
    plugin("modules", "host_files")
    import ansible.module_utils.llmprov_host as utilities  # noqa: PLC0415 - made by the fixture

    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError):
        utilities.write_atomically(path, None, 0o644)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
