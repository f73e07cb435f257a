-- Requests from a file made by load.py: a line of method, path and headers, and a body or nothing, separated by tabs.
-- Each is formatted once, and they are sent in turn.
local requests, next = {}, 0

function init(args)
   for line in io.lines(args[1]) do
      local method, path, authorization, body = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$")
      local headers = { ["Authorization"] = authorization }
      if body == "" then body = nil else headers["Content-Type"] = "application/json" end
      if authorization == "" then headers = {} end
      requests[#requests + 1] = wrk.format(method, path, headers, body)
   end
   -- Where the last run with this file ended does not matter, but two runs should not begin alike.
   math.randomseed(os.time())
   next = math.random(#requests)
end

function request()
   next = next % #requests + 1
   return requests[next]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      "figures {\"requests\":%d,\"micros\":%d,\"p50\":%d,\"p99\":%d,\"max\":%d,\"not2xx\":%d,\"broken\":%d}\n",
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
