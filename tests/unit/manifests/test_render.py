from pathlib import Path

import pytest
from jinja2 import DictLoader, UndefinedError

from llmprov.manifests import render as module
from llmprov.manifests.render import Inputs, render


class Nothing(Inputs):
    """No inputs at all."""


def test_an_undefined_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = module._environment().overlay(loader=DictLoader({"t": "name: {{ missing }}"}))
    monkeypatch.setattr(module, "_environment", lambda: environment)
    with pytest.raises(UndefinedError, match="missing"):
        render("t", Nothing())


def test_every_template_is_rendered_by_a_golden_test() -> None:
    templates = {path.name for path in Path(module.__file__).parent.joinpath("templates").glob("*.j2")}
    assert templates == {"network.yaml.j2", "models-namespace.yaml.j2", "model.yaml.j2"}
