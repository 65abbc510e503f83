"""A lab's files: found again, written whole, locked."""

import threading
from pathlib import Path

import pytest

from llmprov.errors import LabError
from llmprov.lab import store
from llmprov.lab.spec import LabSpec


def test_a_saved_lab_is_found_again(home: Path, spec: LabSpec) -> None:
    assert store.find_spec("unit") is None
    store.save_spec(spec)
    assert store.load_spec("unit") == spec
    assert store.files("unit").root == home / "state" / "lab" / "unit"


@pytest.mark.usefixtures("home")
def test_a_lab_that_does_not_exist_is_an_error_with_a_remedy() -> None:
    with pytest.raises(LabError, match="there is no lab nowhere") as caught:
        store.load_spec("nowhere")
    assert "lab up" in caught.value.remedy


def test_files_are_replaced_whole_and_private(tmp_path: Path) -> None:
    file = tmp_path / "new" / "file"
    store.write_whole(file, "one")
    store.write_whole(file, "two")
    assert file.read_text() == "two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_the_lock_file_goes_with_the_lab(home: Path, spec: LabSpec) -> None:
    lock = home / "state" / "lab" / "unit.lock"
    with store.locked("unit"):
        assert lock.exists()
        store.save_spec(spec)
    assert lock.exists()
    store.files("unit").spec.unlink()
    store.files("unit").root.rmdir()
    with store.locked("unit"):
        pass
    assert not lock.exists()


@pytest.mark.usefixtures("home")
def test_a_second_command_waits_for_the_first() -> None:
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with store.locked("unit"):
            order.append("second")

    with store.locked("unit"):
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait(5)
        thread.join(0.1)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
