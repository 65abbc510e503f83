"""The script that reads the model's name out of a body, run by LuaJIT as in Envoy, compared with Python's json."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from lupa.luajit21 import LuaRuntime

from llmprov.manifests.gateway import routing_script

Read = Callable[[str], object]
BROKEN = "broken"
NO_TEXT = "no text"


def runtime() -> LuaRuntime:
    lua = LuaRuntime(encoding=None)
    lua.execute(routing_script().encode())
    return lua


@pytest.fixture(scope="module")
def read() -> Read:
    """Return the model, None without one, NO_TEXT when it is not a string, BROKEN when the body is not an object."""
    function = runtime().globals()[b"llmprov_model"]

    def reader(body: str) -> object:
        answer = function(body.encode())
        if not isinstance(answer, tuple):
            return BROKEN
        if answer[1] is None:
            return None
        return NO_TEXT if answer[1] is False else answer[1].decode(errors="surrogateescape")

    return reader


def by_json(body: str) -> object:
    try:
        document = json.loads(body)
    except ValueError:
        return BROKEN
    if not isinstance(document, dict):
        return BROKEN
    if "model" not in document:
        return None
    return document["model"] if isinstance(document["model"], str) else NO_TEXT


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"a"}',
        ' {\t"model" :\r\n"a" } ',
        '{"messages":[{"role":"user","content":"\\"model\\":\\"b\\""}],"model":"a"}',
        '{"messages":[{"role":"user","content":"{\\"model\\": \\"b\\"}"}]}',
        '{"metadata":{"model":"b"},"model":"a"}',
        '{"metadata":[{"model":"b"}]}',
        '{"model":"first","model":"last"}',
        '{"mod\\u0065l":"a\\u002fb"}',
        '{"model":"caf\\u00e9 \\n\\t\\"x\\""}',
        '{"Model":"a"}',
        '{"model":7}',
        '{"model":null}',
        '{"model":["a"]}',
        "{}",
        "",
        "[]",
        '"model"',
        '{"model":"a"',
        '{"model":"a"}}',
        '{"model":"a"} x',
        '{"model":"a",}',
        "{'model':'a'}",
        '{model:"a"}',
        '{"a":[}],"model":"a"}',
        '{"a":{"b":[1,2,{}]},"model":"a"}',
        '{"a":{"b"},"model":"a"}',
        '{"a":{,"b":1},"model":"a"}',
        '{"a":[1 2],"model":"a"}',
        '{"a":tru,"model":"a"}',
        '{"a":"\n","model":"a"}',
        '{"a":"\\x","model":"a"}',
        '{"a":"\\u12g4","model":"a"}',
    ],
)
def test_it_reads_as_json_does(read: Read, body: str) -> None:
    assert read(body) == by_json(body)


def test_it_reads_what_chance_writes_as_json_does(read: Read) -> None:
    chance = random.Random(7)  # noqa: S311 - repeatable, not secret
    seen: set[object] = set()
    for _ in range(3000):
        body = _spoiled(_document(chance), chance)
        expected = by_json(body)
        assert read(body) == expected, body
        seen.add(expected if expected in {BROKEN, NO_TEXT, None} else "text")
    assert seen == {BROKEN, NO_TEXT, None, "text"}


def _value(chance: random.Random, depth: int = 0) -> object:
    # No numbers: the engine looks at those.
    kind = chance.random()
    if depth > 3 or kind < 0.4:
        return chance.choice([True, None, "", "a", '"model":"z"', "\\ü\n\t", '{"model":"q"}'])
    if kind < 0.7:
        return [_value(chance, depth + 1) for _ in range(chance.randint(0, 3))]
    return {chance.choice(["model", "a", 'mo"del']): _value(chance, depth + 1) for _ in range(chance.randint(0, 3))}


def _document(chance: random.Random) -> str:
    keys = chance.sample(["model", "messages", "x", "y"], chance.randint(0, 4))
    document = {key: _value(chance) for key in keys}
    return json.dumps(document, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1]))


def _spoiled(body: str, chance: random.Random) -> str:
    if chance.random() < 0.5:
        return body
    at = chance.randrange(len(body))
    return (
        body[:at]
        + chance.choice(["", ",", "{", "}", '"', ":", "]", "[", "\\", " "])
        + body[at + chance.randint(0, 1) :]
    )


def test_nesting_is_bounded(read: Read) -> None:
    assert read('{"a":' + "[" * 90 + "]" * 90 + ',"model":"m"}') == "m"
    assert read('{"a":' + "[" * 200 + "]" * 200 + ',"model":"m"}') == BROKEN


@dataclass
class Outcome:
    """What the script did with one request."""

    headers: dict[str, str]
    routed_again: bool = False
    answers: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)


def handled(body: str | None, **headers: str) -> Outcome:
    """Run the script on one request; the handle is Envoy's, as far as the script uses it."""
    lua = runtime()
    outcome = Outcome({":method": "POST", **{key.replace("_", "-"): value for key, value in headers.items()}})
    lua.globals()[b"py_headers"] = outcome.headers
    lua.globals()[b"py_get"] = lambda name: (outcome.headers.get(name.decode()) or "").encode()
    lua.globals()[b"py_remove"] = lambda name: outcome.headers.pop(name.decode(), None)
    lua.globals()[b"py_add"] = lambda name, value: outcome.headers.__setitem__(name.decode(), value.decode())
    lua.globals()[b"py_clear"] = lambda: setattr(outcome, "routed_again", True)
    lua.globals()[b"py_respond"] = lambda status, kind, text: outcome.answers.append(
        (status.decode(), kind.decode(), json.loads(text))
    )
    lua.globals()[b"py_body"] = None if body is None else body.encode()
    lua.execute(_HANDLE)
    lua.eval(b"envoy_on_request(handle)")
    return outcome


# As in Envoy, objects from before the body was waited for are dead after it.
_HANDLE = b"""
age = 0
bytes = {length = function() return #py_body end,
         getBytes = function(_, first, size) return py_body:sub(first + 1, size) end}
function headers()
  local born = age
  local function alive() if born ~= age then error("object used outside of proper scope") end end
  return {get = function(_, n) alive() return py_get(n) end, remove = function(_, n) alive() py_remove(n) end,
          add = function(_, n, v) alive() py_add(n, v) end}
end
handle = {
  headers = headers,
  body = function() age = age + 1 if py_body then return bytes end end,
  clearRouteCache = function() py_clear() end,
  respond = function(_, h, text) py_respond(h[":status"], h["content-type"], text) end,
}
"""


def test_the_header_is_set_from_the_body() -> None:
    outcome = handled('{"model":"meta-llama/Llama-3.3-70B"}')
    assert outcome.headers["x-llmprov-model"] == "meta-llama/Llama-3.3-70B"
    assert outcome.routed_again
    assert not outcome.answers


def test_a_clients_own_header_does_not_count() -> None:
    assert handled('{"model":"a"}', x_llmprov_model="b").headers["x-llmprov-model"] == "a"
    outcome = handled(None, **{"x_llmprov_model": "b", ":method": "GET"})
    assert "x-llmprov-model" not in outcome.headers
    assert outcome.routed_again


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (None, "400", "invalid_json"),
        ("", "400", "invalid_json"),
        ("hello", "400", "invalid_json"),
        ('{"model":"a"', "400", "invalid_json"),
        ("{}", "400", "missing_required_parameter"),
        ('{"model":5}', "400", "invalid_type"),
        ('{"model":"a b"}', "404", "model_not_found"),
        ('{"model":"a\\r\\nx: y"}', "404", "model_not_found"),
        ('{"model":"' + "a" * 300 + '"}', "404", "model_not_found"),
        ('{"model":""}', "404", "model_not_found"),
    ],
)
def test_what_cannot_be_routed_is_refused_in_openais_shape(body: str | None, status: str, code: str) -> None:
    outcome = handled(body, x_llmprov_model="sneaked-in")
    [(seen, kind, document)] = outcome.answers
    assert (seen, kind) == (status, "application/json")
    error = document["error"]
    assert isinstance(error, dict)
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code"}
    assert "x-llmprov-model" not in outcome.headers
