-- ARGV: the packed ending, then nonces of grants that nobody has heard of. What was granted and
-- still runs is released: it never started. A request that is still on its way finds a mark, and is granted nothing.
local REMEMBERED = 3600000 -- milliseconds; a network that was cut repeats for minutes at most
local told = checked_told(ARGV[1])
for number = 2, #ARGV do checked_size(ARGV[number], 24) end
local now = clock()
local released = 0
for number = 2, #ARGV do
    local nonce = ARGV[number]
    local grant = PREFIX .. 'grant:' .. nonce
    for _, id in ipairs(peek('LRANGE', grant, 0, -1) or {}) do
        local row = read(id)
        if row and row.status == 'running' and row.token and string.sub(row.token, 9) == nonce then
            end_attempt(id, row, 'release', told, now)
            released = released + 1
        end
    end
    redis.call('DEL', grant)
    redis.call('RPUSH', grant, '')
    redis.call('PEXPIRE', grant, REMEMBERED)
end
return finish(released)
