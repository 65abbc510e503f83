"""Manifests files that are parsed once."""

from pathlib import Path

import pytest

from llmprov.errors import BundleError
from llmprov.manifests import addon, parsed

TEXT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {n: '1', when: 2026-01-01}\n"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMPROV_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "manifests"


def test_the_parsed_form_is_read_the_next_time(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(TEXT)
    first = parsed.load(path)
    assert first[0]["data"] == {"n": "1", "when": "2026-01-01"}
    assert len(list(kept.iterdir())) == 1
    monkeypatch.setattr(addon, "load", lambda _: pytest.fail("it was parsed again"))
    assert parsed.load(path) == first


def test_another_content_is_another_form(kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(TEXT)
    parsed.load(path)
    path.write_text(TEXT.replace("name: a", "name: b"))
    assert parsed.load(path)[0]["metadata"] == {"name": "b"}
    assert len(list(kept.iterdir())) == 2


def test_a_form_that_was_cut_off_is_made_anew(kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(TEXT)
    first = parsed.load(path)
    (form,) = kept.iterdir()
    form.write_text(form.read_text()[:-20])
    assert parsed.load(path) == first
    assert parsed.load(path) == first


def test_what_is_no_manifest_is_named_and_not_kept(kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("- not\n- an object\n")
    with pytest.raises(BundleError, match="not a Kubernetes object"):
        parsed.load(path)
    assert not kept.exists()
