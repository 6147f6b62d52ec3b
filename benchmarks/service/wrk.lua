-- Requests for wrk: templates from the file WRK_TEMPLATES (see events.save), a new id and the present time in each.
-- The summary goes as JSON to WRK_RESULT.
local templates, count, second, stamp = {}, 0, -1, ""
local prefix = os.getenv("WRK_PREFIX")

function init(args)
  local file = assert(io.open(os.getenv("WRK_TEMPLATES"), "rb"))
  local raw = file:read("*a")
  file:close()
  local at = 1
  while at <= #raw do
    local stop = raw:find("\n", at, true)
    local a, b, c = raw:sub(at, stop - 1):match("(%d+) (%d+) (%d+)")
    a, b, c, at = tonumber(a), tonumber(b), tonumber(c), stop + 1
    templates[#templates + 1] = {raw:sub(at, at + a - 1), raw:sub(at + a, at + a + b - 1), raw:sub(at + a + b, at + a + b + c - 1)}
    at = at + a + b + c
  end
end

function request()
  local now = os.time()
  if now ~= second then
    second, stamp = now, os.date("!%Y-%m-%dT%H:%M:%S.000000Z", now)
  end
  count = count + 1
  local t = templates[count % #templates + 1]
  return t[1] .. prefix .. string.format("%012d", count) .. t[2] .. stamp .. t[3]
end

function done(summary, latency, requests)
  local e = summary.errors
  local file = assert(io.open(os.getenv("WRK_RESULT"), "w"))
  file:write(string.format('{"requests": %d, "seconds": %.6f, "status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}',
    summary.requests, summary.duration / 1e6, e.status, e.connect, e.read, e.write, e.timeout))
  file:close()
end
