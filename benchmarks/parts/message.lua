-- wrk's requests: the same body each time, each with an envelope of its own. Prints one JSON line at the end.
local function read(name)
    local file = assert(io.open(os.getenv(name)))
    local text = file:read("*a")
    file:close()
    return text
end

local body = read("BENCH_BODY")
local head = "POST / HTTP/1.1\r\nHost: peer\r\nContent-Type: application/json\r\nA2A-Version: 1.0\r\n"
    .. "Content-Length: " .. #body .. "\r\n"
local requests, at = {}, 0
for token in read("BENCH_ENVELOPES"):gmatch("[^\n]+") do
    requests[#requests + 1] = head .. "Ringwall-Envelope: " .. token .. "\r\n\r\n" .. body
end
if #requests == 0 then
    requests[1] = head .. "\r\n" .. body
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format('\n{"requests": %d, "errors": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d}\n',
        summary.requests, e.connect + e.read + e.write + e.status + e.timeout, summary.duration / 1e6,
        latency:percentile(50), latency:percentile(99)))
end
