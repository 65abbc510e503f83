"""The script that reads the model's name out of a body, run by LuaJIT as in Envoy, compared with Python's json.

And what it does with a request: the header by which routes are chosen, refusals, keys that may not use every model.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from lupa.luajit21 import LuaRuntime

from llmprov.manifests.gateway import KeyModels, models_list, routing_context, routing_script

Read = Callable[[str], object]
BROKEN = "broken"
NO_TEXT = "no text"
KEYS: KeyModels = {"default": None, "team-a": ("a", "org/b"), "nobody": ()}


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
    notes: dict[str, object] = field(default_factory=dict)


def handled(
    body: str | None, *, client: str | None = "default", context: dict[str, object] | None = None, **headers: str
) -> Outcome:
    """Run the script on one request; the handle is Envoy's, as far as the script uses it."""
    own = {} if client is None else {"x-llmprov-client": client}
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    outcome = Outcome({":method": "POST", ":path": "/v1/chat/completions", **own, **given})
    run(b"envoy_on_request(handle)", outcome, body, routing_context(KEYS) if context is None else context)
    return outcome


def run(call: bytes, outcome: Outcome, body: str | None, context: dict[str, object]) -> bytes | None:
    """Call a function of the script; return what it made of the body."""
    lua = runtime()
    names = lua.globals()
    names[b"py_get"] = lambda name: found.encode() if (found := outcome.headers.get(name.decode())) else None
    names[b"py_remove"] = lambda name: outcome.headers.pop(name.decode(), None)
    names[b"py_set"] = lambda name, value: outcome.headers.__setitem__(name.decode(), value.decode())
    names[b"py_clear"] = lambda: setattr(outcome, "routed_again", True)
    names[b"py_note"] = lambda name, value: outcome.notes.__setitem__(name.decode(), value)
    names[b"py_respond"] = lambda status, kind, text: outcome.answers.append(
        (status.decode(), kind.decode(), json.loads(text))
    )
    names[b"py_body"] = None if body is None else body.encode()
    names[b"py_context"] = tables(lua, context)
    names[b"py_notes"] = tables(lua, outcome.notes) if outcome.notes else None
    lua.execute(_HANDLE)
    lua.eval(call)
    return names[b"py_body"]  # type: ignore[no-any-return]


def tables(lua: LuaRuntime, value: object) -> object:
    """Return a value as Envoy hands it to scripts: text, booleans, and tables of such."""
    if isinstance(value, dict):
        return lua.table_from({key.encode(): tables(lua, item) for key, item in value.items()})
    if isinstance(value, list):
        return lua.table_from([tables(lua, item) for item in value])
    return value.encode() if isinstance(value, str) else value


# As in Envoy, objects from before the body was waited for are dead after it.
_HANDLE = b"""
age = 0
bytes = {length = function() return #py_body end,
         getBytes = function(_, first, size) return py_body:sub(first + 1, size) end,
         setBytes = function(_, text) py_body = text return #text end}
function headers()
  local born = age
  local function alive() if born ~= age then error("object used outside of proper scope") end end
  return {get = function(_, n) alive() return py_get(n) end, remove = function(_, n) alive() py_remove(n) end,
          add = function(_, n, v) alive() py_set(n, v) end, replace = function(_, n, v) alive() py_set(n, v) end}
end
handle = {
  headers = headers,
  body = function() age = age + 1 if py_body then return bytes end end,
  clearRouteCache = function() py_clear() end,
  respond = function(_, h, text) py_respond(h[":status"], h["content-type"], text) end,
  filterContext = function() return {get = function(_, n) return py_context[n] end} end,
  streamInfo = function() return {dynamicMetadata = function()
    return {set = function(_, where, n, v) assert(where == "llmprov") py_note(n, v) end,
            get = function(_, where) assert(where == "llmprov") return py_notes end} end} end,
}
"""


def test_the_header_is_set_from_the_body() -> None:
    outcome = handled('{"model":"meta-llama/Llama-3.3-70B"}')
    assert outcome.headers["x-llmprov-model"] == "meta-llama/Llama-3.3-70B"
    assert outcome.routed_again
    assert not outcome.answers


def test_a_clients_own_header_does_not_count() -> None:
    assert handled('{"model":"a"}', x_llmprov_model="b").headers["x-llmprov-model"] == "a"
    outcome = handled(None, **{"x_llmprov_model": "b", ":method": "GET"})  # type: ignore[arg-type]
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


def code_of(outcome: Outcome) -> str:
    """Return the status and code of the one answer; empty when the request went on."""
    if not outcome.answers:
        assert outcome.routed_again
        return ""
    assert not outcome.routed_again
    assert "x-llmprov-model" not in outcome.headers
    [(status, _, document)] = outcome.answers
    error = document["error"]
    assert isinstance(error, dict)
    return f"{status} {error['code']}"


@pytest.mark.parametrize(
    ("client", "model", "expected"),
    [
        ("default", "a", ""),
        ("default", "not-deployed", ""),
        ("team-a", "a", ""),
        ("team-a", "org/b", ""),
        ("team-a", "A", "403 model_not_allowed"),
        ("team-a", "ab", "403 model_not_allowed"),
        ("team-a", "c", "403 model_not_allowed"),
        ("team-a", "a b", "404 model_not_found"),
        ("nobody", "a", "403 model_not_allowed"),
        ("not-known", "a", "403 model_not_allowed"),
        (None, "a", "403 model_not_allowed"),
    ],
)
def test_a_key_is_held_to_its_models(client: str | None, model: str, expected: str) -> None:
    assert code_of(handled(json.dumps({"model": model}), client=client)) == expected


@pytest.mark.parametrize("limit", ["a", 7, False, {"a": True}, [["a"]], [True]])
def test_a_limit_that_is_none_allows_nothing(limit: object) -> None:
    outcome = handled('{"model":"a"}', client="odd", context={"keys": {"odd": limit}})
    assert code_of(outcome) == "403 model_not_allowed"


@pytest.mark.parametrize("context", [{}, {"keys": True}, {"other": {"default": True}}])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_its_context_the_script_lets_nothing_through(method: str, context: dict[str, object]) -> None:
    outcome = handled('{"model":"a"}', context=context, **{":method": method})
    assert code_of(outcome) == "503 service_unavailable"


def test_whose_key_it_is_goes_to_the_log_and_no_further() -> None:
    outcome = handled('{"model":"a"}', client="team-a")
    assert outcome.notes == {"client": b"team-a"}
    assert "x-llmprov-client" not in outcome.headers


@pytest.mark.parametrize(
    ("client", "path", "expected"),
    [
        ("default", "/v1/models/c", ""),
        ("team-a", "/v1/models/a", ""),
        ("team-a", "/v1/models/a?x=1", ""),
        ("team-a", "/v1/models/org/b", ""),
        ("team-a", "/v1/models/org%2Fb", ""),
        ("team-a", "/v1/models/c", "403 model_not_allowed"),
        ("team-a", "/v1/models/%63", "403 model_not_allowed"),
        ("team-a", "/v1/models/a/c", "403 model_not_allowed"),
        ("team-a", "/v1/models", ""),
        ("team-a", "/metrics", ""),
    ],
)
def test_a_model_that_a_key_may_not_use_is_not_described_to_it(client: str, path: str, expected: str) -> None:
    outcome = handled(None, client=client, **{":method": "GET", ":path": path})  # type: ignore[arg-type]
    assert code_of(outcome) == expected


def listed(client: str, *names: str) -> list[str]:
    """Return the models that a key sees, of those that are deployed."""
    context = routing_context(KEYS)
    outcome = handled(None, client=client, **{":method": "GET", ":path": "/v1/models?limit=9"})  # type: ignore[arg-type]
    [answer] = [item for item in models_list(names, "n") if item["kind"] == "HTTPRouteFilter"]
    text: str = answer["spec"]["directResponse"]["body"]["inline"]  # type: ignore[index]
    outcome.headers = {":status": "200", "content-length": str(len(text))}
    seen = run(b"envoy_on_response(handle)", outcome, text, context)
    assert seen is not None
    assert outcome.headers["content-length"] == str(len(seen))
    document = json.loads(seen)
    assert document["object"] == "list"
    assert all(set(entry) == {"id", "object", "created", "owned_by"} for entry in document["data"])
    return [entry["id"] for entry in document["data"]]


def test_the_list_of_models_holds_what_the_key_may_use() -> None:
    assert listed("default", "a", "c") == ["a", "c"]
    assert listed("team-a", "c", "org/b", "a", "d") == ["org/b", "a"]
    assert listed("team-a", "c") == []
    assert listed("nobody", "a", "c") == []
    assert listed("not-known", "a") == []


def test_no_other_answer_is_touched() -> None:
    outcome = handled('{"model":"a"}', client="team-a")
    outcome.headers = {":status": "200"}
    text = '{"id": "c", "text": "as the engine wrote it"}'
    assert run(b"envoy_on_response(handle)", outcome, text, routing_context(KEYS)) == text.encode()
    assert outcome.headers == {":status": "200"}
