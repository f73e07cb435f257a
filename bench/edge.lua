-- Requests from a file made by edge.py: a line of method, path and headers (`name: value`), separated by tabs. Each is
-- formatted once, and they are sent in turn.
local requests, next = {}, 0

function init(args)
   for line in io.lines(args[1]) do
      local fields, headers = {}, {}
      for field in line:gmatch("[^\t]+") do fields[#fields + 1] = field end
      for index = 3, #fields do
         local name, value = fields[index]:match("^([^:]+): (.*)$")
         headers[name] = value
      end
      requests[#requests + 1] = wrk.format(fields[1], fields[2], headers)
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
