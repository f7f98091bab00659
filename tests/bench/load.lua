-- What wrk sends, and what it counts. Its arguments: METHOD PATH HOST [TOKENS [PAUSE]]
--
-- TOKENS is a file of tokens, one a line; thread N reads TOKENS.N, each line once, and begins anew where it is at its end: then the
-- tokens were not all different, which is counted. PAUSE is how many milliseconds a connection is to be idle between two requests,
-- on average: each time another one, lest all of those that are answered together come again together.
-- At the end one line of JSON says what came.

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(arguments)
  local method, path, host, tokens = arguments[1], arguments[2], arguments[3], arguments[4]
  pause = tonumber(arguments[5])
  begun_anew, seen = 0, ""
  statuses = {}
  head = method .. " " .. path .. " HTTP/1.1\r\nHost: " .. host .. "\r\n"
  tail = (method == "POST" and "Content-Length: 0\r\n" or "") .. "\r\n"
  if tokens and tokens ~= "-" then
    file = assert(io.open(tokens .. "." .. number, "r"))
    head = head .. "Authorization: Bearer "
    tail = "\r\n" .. tail
  end
  fixed = head .. tail
end

function request()
  if not file then return fixed end
  local token = file:read("*l")
  if not token then
    begun_anew = begun_anew + 1
    file:seek("set", 0)
    token = file:read("*l")
  end
  return head .. token .. tail
end

function response(status)
  statuses[status] = (statuses[status] or 0) + 1
end

function delay()
  return pause and math.random(0, 2 * pause) or 0
end

function done(summary, latency)
  local counted, begun = {}, 0
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses")) do counted[status] = (counted[status] or 0) + count end
    begun = begun + thread:get("begun_anew")
  end
  local pairs_of_json = {}
  for status, count in pairs(counted) do table.insert(pairs_of_json, string.format('"%d": %d', status, count)) end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    'wrk: {"requests": %d, "seconds": %.6f, "p50": %.6f, "p90": %.6f, "p99": %.6f, "max": %.6f, "errors": %d, "begun_anew": %d, "statuses": {%s}}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(90) / 1e6,
    latency:percentile(99) / 1e6, latency.max / 1e6, errors, begun, table.concat(pairs_of_json, ", ")
  ))
end
