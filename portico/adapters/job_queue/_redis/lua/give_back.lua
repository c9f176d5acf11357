-- ARGV: nonces of grants that nobody has heard of. What was granted and still runs is released:
-- it never started. A request that is still on its way finds a mark, and is granted nothing.
local REMEMBERED = 3600000 -- milliseconds; a network that was cut repeats for minutes at most
for _, nonce in ipairs(ARGV) do checked_size(nonce, 24) end
local now = clock()
local told = { false, false, false, false, 0, -1, false }
local released = 0
for _, nonce in ipairs(ARGV) do
    local grant = PREFIX .. 'grant:' .. nonce
    for _, id in ipairs(redis.call('LRANGE', grant, 0, -1)) do
        local row = read(id)
        if row and row.status == 'running' and string.sub(row.token, 9) == nonce then
            end_attempt(id, row, 'release', told, now)
            released = released + 1
        end
    end
    redis.call('DEL', grant)
    redis.call('RPUSH', grant, '')
    redis.call('PEXPIRE', grant, REMEMBERED)
end
finish()
return released
