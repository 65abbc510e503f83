import re
from pathlib import Path

import pytest
from jinja2 import DictLoader, UndefinedError

from llmprov.manifests import render as module
from llmprov.manifests.render import Inputs, render

TESTS = Path(__file__).resolve().parents[2]


class Nothing(Inputs):
    """No inputs at all."""


def test_an_undefined_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = module._environment().overlay(loader=DictLoader({"t": "name: {{ missing }}"}))
    monkeypatch.setattr(module, "_environment", lambda: environment)
    with pytest.raises(UndefinedError, match="missing"):
        render("t", Nothing())


def test_every_template_is_rendered_by_a_golden_test() -> None:
    package = Path(module.__file__).parent
    templates = {path.name for path in package.joinpath("templates").glob("*.j2")}
    sources = {path.stem: path.read_text() for path in package.glob("*.py")}
    tests = [text for path in TESTS.rglob("test_*.py") if "golden" in (text := path.read_text()).lower()]
    golden = {name for name in sources if any(f"llmprov.manifests.{name} " in text for text in tests)}
    rendered = {found for name in golden for found in re.findall(r'"([\w.-]+\.j2)"', sources[name])}
    assert templates - rendered == set()
