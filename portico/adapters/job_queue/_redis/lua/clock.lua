-- The server's clock alone, in microseconds since 1970.
local function clock()
    local now = redis.call('TIME')
    return tonumber(now[1]) * 1000000 + tonumber(now[2])
end
