-- ARGV: limit, the packed failure of an expired lease, the time after which nothing is settled any
-- more: what kept this waiting kept others from renewing; and the largest body. Answers with the
-- leases as they were.
local HEAD = 512
local LOOKED_AT_IN_VAIN = 10000
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

local function end_lease(id)
    local row, is_lost = nil, false
    if is_id(id) then row, is_lost = read(id) end
    if is_lost then
        bury(id, lost_queue(true), 'running', lost('its row', job_key(id)), now)
    elseif row and (row.status == 'running' or not is_status(row.status)) then
        expire(id, row)
    elseif not is_id(id) then
        tell_of_entry(LEASES, id)
    end
end

local looked = 0
while #recovered < limit and looked < limit + LOOKED_AT_IN_VAIN do
    local most = limit - #recovered
    local ids = sound('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, most)
    for _, id in ipairs(ids) do end_lease(id) end
    if #ids > 0 then write_all('ZREM', LEASES, ids) end
    looked = looked + #ids
    if #ids < most then break end
end
return finish(recovered)
