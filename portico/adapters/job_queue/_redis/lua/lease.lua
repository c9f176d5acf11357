-- ARGV: nonce, lease length in microseconds, limit, owner, the largest body, the packed failure of
-- a larger one, then the queues. Answers with the time, when the next waiting job will be due, what
-- was too large, and the leases.
local PROMOTED_AT_ONCE = 1000
local FIELDS = {
    'status', 'type', 'priority', 'max', 'retries', 'scheduled', 'created', 'by', 'metadata',
    'error', 'suspect', 'attempt', 'cancel', 'seq',
}
local nonce, length, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local owner, largest, too_large = ARGV[4], tonumber(ARGV[5]), cmsgpack.unpack(ARGV[6])
local now = clock()
local now_place = string.format('%018.0f', now)
local grant_key = PREFIX .. 'grant:' .. nonce
local leases, refused, alert = {}, {}, false

if redis.call('EXISTS', grant_key) == 1 then -- whoever asked has given up, see give_back.lua
    return { text(now), '', refused, leases }
end

local function promote(queue)
    local later = queue_key(queue, 'later')
    local due = redis.call(
        'ZRANGEBYLEX', later, '-', '[' .. now_place .. ':~', 'LIMIT', 0, PROMOTED_AT_ONCE
    )
    if #due == 0 then return end
    local priorities = {}
    for number, place in ipairs(due) do
        priorities[number] = redis.call('HGET', job_key(string.sub(place, -32)), 'priority')
    end
    for number, place in ipairs(due) do
        if priorities[number] then
            redis.call('ZADD', queue_key(queue, 'ready'), -whole(priorities[number]), place)
        end
    end
    redis.call('ZREMRANGEBYRANK', later, 0, #due - 1)
end

local function grant(queue, id, row, body)
    local attempt = whole(row[12]) + 1
    redis.call(
        'HSET', job_key(id), 'status', 'running', 'attempt', text(attempt),
        'token', string.format('%08x', attempt) .. nonce, 'started', text(now), 'owner', owner
    )
    redis.call('ZADD', LEASES, now + length, id)
    count(queue, row[1], -1)
    count(queue, 'running', 1)
    if row[13] then
        redis.call('SADD', CANCELS, id)
        alert = true
    end
    leases[#leases + 1] = {
        id, attempt, queue, row[2], body, row[3], row[4], row[5] or '0', row[6] or '',
        row[7], row[8] or '', row[9] or '{}', row[10], row[11] or '0',
    }
end

local function refuse(queue, id, row)
    -- Its attempt is counted as started, and ended by its size.
    local attempt = whole(row[12]) + 1
    redis.call(
        'HSET', job_key(id), 'status', 'running', 'attempt', text(attempt),
        'token', string.format('%08x', attempt) .. nonce, 'started', text(now), 'owner', owner
    )
    count(queue, row[1], -1)
    count(queue, 'running', 1)
    end_attempt(id, read(id), 'quarantine', too_large, now)
    refused[#refused + 1] = { id, row[2], queue, attempt }
end

local function take(queue)
    local ready, later = queue_key(queue, 'ready'), queue_key(queue, 'later')
    while #leases < limit do
        local places = redis.call('ZRANGE', ready, 0, limit - #leases - 1)
        if #places == 0 then return end
        local rows, bodies = {}, {}
        for number, place in ipairs(places) do
            local id = string.sub(place, -32)
            rows[number] = redis.call('HMGET', job_key(id), unpack(FIELDS))
            local length_of = redis.call('STRLEN', body_key(id))
            if length_of + #(rows[number][9] or '') <= largest then
                bodies[number] = redis.call('GET', body_key(id)) or ''
            end
        end
        redis.call('ZREMRANGEBYRANK', ready, 0, #places - 1)
        for number, place in ipairs(places) do
            local id, row = string.sub(place, -32), rows[number]
            if row[1] and WAITING[row[1]] then
                if row[1] ~= 'pending' and string.sub(place, 1, 18) > now_place then
                    redis.call('ZADD', later, 0, place) -- the clock was set back
                elseif bodies[number] then
                    grant(queue, id, row, bodies[number])
                else
                    refuse(queue, id, row)
                end
            end
        end
    end
end

for number = 7, #ARGV do
    promote(ARGV[number])
    take(ARGV[number])
end

if #leases > 0 then
    local ids = {}
    for number, lease in ipairs(leases) do ids[number] = lease[1] end
    for first = 1, #ids, 1000 do
        redis.call('RPUSH', grant_key, unpack(ids, first, math.min(first + 999, #ids)))
    end
    redis.call('PEXPIRE', grant_key, math.ceil(length / 1000))
end

local next_due = ''
for number = 7, #ARGV do
    local first = redis.call('ZRANGE', queue_key(ARGV[number], 'later'), 0, 0)[1]
    local due = first and string.sub(first, 1, 18) or ''
    if due ~= '' and (next_due == '' or due < next_due) then next_due = due end
end
finish()
if alert then redis.call('PUBLISH', WAKE, '*') end
return { text(now), next_due, refused, leases }
