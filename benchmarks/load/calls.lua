-- Calls to many objects for wrk. From the environment: OBJECTS (how many), PREFIX (of their names), TARGET (a path with
-- {name} in it), BODY (sent as JSON by POST; a GET without it).
local objects = tonumber(os.getenv("OBJECTS"))
local prefix = os.getenv("PREFIX")
local target = os.getenv("TARGET")
local body = os.getenv("BODY")
local requests = {}

function init()
  math.randomseed(11)
  local headers = {}
  if body then headers["Content-Type"] = "application/json" end
  for number = 1, objects do
    local path = string.gsub(target, "{name}", prefix .. (number - 1))
    requests[number] = wrk.format(body and "POST" or "GET", path, headers, body)
  end
end

function request()
  return requests[math.random(objects)]
end

function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    'FIGURES {"rate": %.1f, "p50_ms": %.3f, "p99_ms": %.3f, "calls": %d, "errors": %d}\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.requests, errors.status + broken))
end
