-- ARGV: limit, the packed failure of an expired lease, the time after which nothing is settled any
-- more: what kept this waiting kept others from renewing; and the largest body. Answers with the
-- leases as they were.
local HEAD = 512
local limit = checked(ARGV[1])
local told, not_after, largest = checked_told(ARGV[2]), checked(ARGV[3]), checked(ARGV[4])
local now = clock()
if now > not_after then return {} end
local recovered = {}

local function expire(id, row)
    local more = redis.call('HMGET', job_key(id), 'error', 'suspect')
    local body = peek('GETRANGE', body_key(id), 0, largest + HEAD) or ''
    local status = end_attempt(id, row, 'expire', told, now)
    recovered[#recovered + 1] = {
        status, row.token or '', row.started or '0', id, row.attempt, row.queue, body,
        { row.retries or '0', more[1], more[2] or '0' },
    }
end

for _, id in ipairs(sound('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, limit)) do
    local row, is_lost = nil, false
    if is_id(id) then row, is_lost = read(id) end
    if is_lost then
        bury(id, lost_queue(true), 'running', lost('its row', job_key(id)), now)
    elseif row and (row.status == 'running' or not is_status(row.status)) then
        expire(id, row)
    elseif is_id(id) then
        redis.call('ZREM', LEASES, id)
    else
        drop(LEASES, id)
    end
end
return finish(recovered)
