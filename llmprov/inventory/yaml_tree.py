"""YAML with the line of every key kept; finds syntax errors and what YAML readers hide, keys given twice."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from llmprov.inventory.findings import Finding, Place

_VAULT = "$ANSIBLE_VAULT"
type KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file: where each key stands, and what is wrong with its form."""

    file: Path
    text: str = ""
    places: dict[KeyPath, Place] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def place(self, path: KeyPath) -> Place:
        """Return where a key stands, or the nearest key above it."""
        for length in range(len(path), -1, -1):
            if found := self.places.get(path[:length]):
                return found
        return Place(self.file)


def read(file: Path) -> Document:
    """Read a file's form, not its values: tags such as `!vault` and encrypted files are left alone."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return _broken(file, Finding(f"is not UTF-8 text: {error.reason}", "save the file as UTF-8", Place(file)))
    except OSError as error:
        reason = error.strerror or str(error)
        return _broken(file, Finding(f"cannot be read: {reason}", "check the file and its permissions", Place(file)))
    if text.startswith(_VAULT):
        return Document(file, text)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        problem = error.problem or error.context or "the text cannot be parsed"
        return _broken(file, Finding(f"YAML error: {problem}", "correct the syntax at this line", place))
    except yaml.YAMLError as error:
        return _broken(file, Finding(f"YAML error: {error}", "correct the syntax", Place(file)))
    places: dict[KeyPath, Place] = {}
    findings = tuple(_walk(file, root, (), places)) if root else ()
    return Document(file, text, places, findings)


def _broken(file: Path, finding: Finding) -> Document:
    return Document(file, findings=(finding,))


def _walk(file: Path, node: yaml.Node, path: KeyPath, places: dict[KeyPath, Place]) -> Iterator[Finding]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            places[(*path, index)] = _mark(file, item)
            yield from _walk(file, item, (*path, index), places)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        place = _mark(file, key_node)
        if key in seen and key != "<<":
            remedy = "keep one of the two: YAML would silently drop the first"
            yield Finding(f"given twice, first in line {seen[key]}", remedy, place, ".".join(map(str, (*path, key))))
        seen.setdefault(key, place.line)
        places[(*path, key)] = place
        yield from _walk(file, value_node, (*path, key), places)


def _mark(file: Path, node: yaml.Node) -> Place:
    return Place(file, node.start_mark.line + 1)
