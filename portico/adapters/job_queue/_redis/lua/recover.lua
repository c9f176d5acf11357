-- ARGV: limit, the packed failure of an expired lease, and the time after which nothing is settled
-- any more: what kept this waiting kept others from renewing. Answers with the leases as they were.
checked(ARGV[1])
local told, not_after = checked_told(ARGV[2]), checked(ARGV[3])
local now = clock()
if now > not_after then return {} end
local recovered = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, ARGV[1])) do
    local row = read(id)
    if row and row.status == 'running' then
        local more = redis.call('HMGET', job_key(id), 'error', 'suspect')
        local body = redis.call('GET', body_key(id)) or ''
        local status = end_attempt(id, row, 'expire', told, now)
        recovered[#recovered + 1] = {
            status, row.token, row.started, id, row.attempt, row.queue, body,
            { row.retries or '0', more[1], more[2] or '0' },
        }
    else
        redis.call('ZREM', LEASES, id)
    end
end
finish()
return recovered
