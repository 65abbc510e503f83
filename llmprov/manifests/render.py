"""Renders Jinja2 templates of Kubernetes objects: undefined names are errors, every value is quoted by `tojson`."""

from collections.abc import Sequence
from functools import lru_cache

import yaml
from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict

from llmprov import paths
from llmprov.stages import YAML_LOADER

type Manifest = dict[str, object]


class Inputs(BaseModel):
    """The typed inputs of a template; each template has its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def render(template: str, inputs: Inputs) -> tuple[Manifest, ...]:
    """Render a template to its objects, in the order in which it holds them.

    Args:
        template: a file of the package's `templates` directory.
        inputs: the template sees each field by its name.
    """
    values = {name: getattr(inputs, name) for name in type(inputs).model_fields}
    text = _environment().get_template(template).render(values)
    documents = yaml.load_all(text, Loader=YAML_LOADER)
    return tuple(document for document in documents if document)


def dump(manifests: Sequence[Manifest]) -> str:
    """Write objects as a YAML stream that people can review."""
    return yaml.safe_dump_all(manifests, sort_keys=False, width=120)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    compiled = paths.cache_dir() / "templates"
    compiled.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = Environment(
        bytecode_cache=FileSystemBytecodeCache(str(compiled)),
        loader=PackageLoader("llmprov.manifests", "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML, not HTML; tojson quotes
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True}
    return environment
