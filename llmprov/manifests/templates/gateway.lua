-- Reads the model's name out of a request's body and puts it into a header, by which the routes are chosen, if the key
-- of the request may use that model. Which models a key may use comes as the filter's context, beside the script.
--
-- The reader takes the body apart as JSON does: only a key of the outermost object counts, escapes are decoded, and text
-- inside strings or nested objects is never mistaken for a key. Of several, the last one counts, as for the engine.

local MODEL = "x-llmprov-model"
-- Set by the check of the keys: whose key it is.
local CLIENT = "x-llmprov-client"
-- Under which the log and the response find what the request brought.
local NOTES = "llmprov"
local DEEPEST = 100
local byte, char, find, format, gsub, sub = string.byte, string.char, string.find, string.format, string.gsub, string.sub
local gmatch, match = string.gmatch, string.match
local ESCAPED = {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}
local WITHOUT_PARAMETER = {invalid_json = true, service_unavailable = true}
local LITERALS = {[102] = "false", [110] = "null", [116] = "true"}

local function is_hex(code)
  return code and ((code >= 48 and code <= 57) or (code >= 65 and code <= 70) or (code >= 97 and code <= 102))
end

local function is_space(code)
  return code == 32 or code == 10 or code == 13 or code == 9
end

local function is_number(code)
  return code and ((code >= 48 and code <= 57) or code == 45 or code == 46 or code == 43 or code == 69 or code == 101)
end

-- The position of the next character that is not white space.
local function past_space(text, at)
  while is_space(byte(text, at)) do at = at + 1 end
  return at
end

-- The position after the string whose opening quote is at `at`; nil if it is not one.
local function past_string(text, at)
  at = at + 1
  while true do
    local code = byte(text, at)
    if code == 34 then return at + 1 end
    if not code or code < 32 then return nil end
    if code ~= 92 then
      at = at + 1
    else
      local kind = byte(text, at + 1)
      if kind == 117 then
        for digit = at + 2, at + 5 do
          if not is_hex(byte(text, digit)) then return nil end
        end
        at = at + 6
      elseif kind == 34 or kind == 47 or kind == 92 or kind == 98 or kind == 102 or kind == 110 or kind == 114 or kind == 116 then
        at = at + 2
      else
        return nil
      end
    end
  end
end

local function utf8(code)
  if code < 128 then return char(code) end
  if code < 2048 then return char(192 + math.floor(code / 64), 128 + code % 64) end
  return char(224 + math.floor(code / 4096), 128 + math.floor(code / 64) % 64, 128 + code % 64)
end

-- What a string means; `first` and `last` are its quotes. Surrogate pairs stay apart: no model's name has any.
local function decoded(text, first, last)
  local raw = sub(text, first + 1, last - 1)
  if not find(raw, "\\", 1, true) then return raw end
  return (gsub(raw, "\\(.)(%x?%x?%x?%x?)", function(kind, digits)
    if kind == "u" then return utf8(tonumber(digits, 16)) end
    return (ESCAPED[kind] or kind) .. digits
  end))
end

-- The position after the value at `at`, nil if there is none. Numbers are not looked at closely: the engine does.
local function past_plain(text, at)
  local code = byte(text, at)
  if code == 34 then return past_string(text, at) end
  local literal = LITERALS[code]
  if literal then
    return sub(text, at, at + #literal - 1) == literal and at + #literal or nil
  end
  if not is_number(code) then return nil end
  while is_number(byte(text, at)) do at = at + 1 end
  return at
end

-- The position after the array or object at `at`, nil if it is not well formed.
local function past_nested(text, at)
  local open, depth = {}, 0
  local value_next = true
  while true do
    local code = byte(text, at)
    if value_next and (code == 91 or code == 123) then
      depth = depth + 1
      if depth > DEEPEST then return nil end
      open[depth] = code
      at = past_space(text, at + 1)
      local closing = code == 91 and 93 or 125
      if byte(text, at) == closing then
        depth = depth - 1
        at = at + 1
        value_next = false
      end
    elseif value_next then
      at = past_plain(text, at)
      if not at then return nil end
      value_next = false
    elseif code == 44 then
      at = past_space(text, at + 1)
      value_next = true
    elseif (code == 93 and open[depth] == 91) or (code == 125 and open[depth] == 123) then
      depth = depth - 1
      at = at + 1
    else
      return nil
    end
    if depth == 0 then return at end
    at = past_space(text, at)
    if value_next and open[depth] == 123 and byte(text, at) ~= nil then
      -- In an object a key and a colon come before the value.
      if byte(text, at) ~= 34 then return nil end
      at = past_string(text, at)
      if not at then return nil end
      at = past_space(text, at)
      if byte(text, at) ~= 58 then return nil end
      at = past_space(text, at + 1)
    end
  end
end

local function past_value(text, at)
  local code = byte(text, at)
  if code == 91 or code == 123 then return past_nested(text, at) end
  return past_plain(text, at)
end

-- Returns true and the value of the outermost object's `model`: its text, nil when there is none, false when it is no
-- string. Returns false when the text is not one JSON object.
function llmprov_model(text)
  local at = past_space(text, 1)
  if byte(text, at) ~= 123 then return false end
  at = past_space(text, at + 1)
  local model = nil
  if byte(text, at) == 125 then
    at = at + 1
  else
    while true do
      if byte(text, at) ~= 34 then return false end
      local after = past_string(text, at)
      if not after then return false end
      local key = decoded(text, at, after - 1)
      at = past_space(text, after)
      if byte(text, at) ~= 58 then return false end
      at = past_space(text, at + 1)
      after = past_value(text, at)
      if not after then return false end
      if key == "model" then
        model = byte(text, at) == 34 and decoded(text, at, after - 1)
      end
      at = past_space(text, after)
      local code = byte(text, at)
      at = at + 1
      if code == 125 then break end
      if code ~= 44 then return false end
      at = past_space(text, at)
    end
  end
  if past_space(text, at) <= #text then return false end
  return true, model
end

-- What a key may use: true for every model, else a list of names; nil, which is nothing, for a key that is not known.
-- False when nothing is known of any key.
local function models_of(handle, client)
  local keys = handle:filterContext():get("keys")
  if type(keys) ~= "table" then return false end
  return keys[client] or nil
end

local function may_use(models, model)
  if models == true then return true end
  if type(models) ~= "table" then return false end
  for _, name in ipairs(models) do
    if name == model then return true end
  end
  return false
end

-- The answer to GET /v1/models without what the key may not use. The text is llmprov's own, so its form is known.
function llmprov_listing(text, models)
  local kept = {}
  for entry, name in gmatch(text, '({"id": "([^"]*)"[^{}]*})') do
    if may_use(models, name) then kept[#kept + 1] = entry end
  end
  return '{"object": "list", "data": [' .. table.concat(kept, ", ") .. "]}"
end

local function refuse(handle, status, code, message)
  handle:respond(
    {[":status"] = status, ["content-type"] = "application/json"},
    format('{"error":{"message":"%s","type":"invalid_request_error","param":%s,"code":"%s"}}',
           message, WITHOUT_PARAMETER[code] and "null" or '"model"', code))
end

local function forbid(handle)
  refuse(handle, "403", "model_not_allowed", "This API key may not use this model. GET /v1/models lists those that it may.")
end

-- Requests without a body; of these, only those that read about models are answered.
local function look(handle, headers, models, notes)
  local path = gsub(headers:get(":path") or "", "%?.*$", "")
  local named = match(path, "^/v1/models/(.+)$")
  if named then
    named = gsub(named, "%%(%x%x)", function(digits) return char(tonumber(digits, 16)) end)
    if not may_use(models, named) then return forbid(handle) end
  elseif path == "/v1/models" and models ~= true then
    notes:set(NOTES, "listing", true)
  end
  handle:clearRouteCache()
end

function envoy_on_request(handle)
  local headers = handle:headers()
  -- A client's own copy would choose the route past the body.
  headers:remove(MODEL)
  local client = headers:get(CLIENT)
  local notes = handle:streamInfo():dynamicMetadata()
  if client then
    notes:set(NOTES, "client", client)
    -- The log has it now; it is none of the engine's business.
    headers:remove(CLIENT)
  end
  local models = models_of(handle, client)
  if models == false then
    -- For the moment in which the script is there before its context; Envoy puts the body of every 503 in.
    return refuse(handle, "503", "service_unavailable", "The gateway is starting.")
  end
  if headers:get(":method") ~= "POST" then return look(handle, headers, models, notes) end
  local body = handle:body()
  local whole, model = false, nil
  if body then whole, model = llmprov_model(body:getBytes(0, body:length())) end
  if not whole then
    refuse(handle, "400", "invalid_json", "The body of the request is not a JSON object.")
  elseif model == false then
    refuse(handle, "400", "invalid_type", "`model` must be a string.")
  elseif model == nil then
    refuse(handle, "400", "missing_required_parameter", "You must provide a `model` parameter.")
  elseif #model > 255 or not find(model, "^[%w][%w%._/:@+-]*$") then
    refuse(handle, "404", "model_not_found", "There is no such model. GET /v1/models lists them.")
  elseif not may_use(models, model) then
    forbid(handle)
  else
    -- Reading the body took time: the headers from before it cannot be used any more.
    handle:headers():add(MODEL, model)
    handle:clearRouteCache()
  end
end

function envoy_on_response(handle)
  local notes = handle:streamInfo():dynamicMetadata():get(NOTES)
  if not notes or not notes.listing or handle:headers():get(":status") ~= "200" then return end
  local models = models_of(handle, notes.client)
  local body = handle:body()
  if not body then return end
  local size = body:setBytes(llmprov_listing(body:getBytes(0, body:length()), models))
  handle:headers():replace("content-length", tostring(size))
end
