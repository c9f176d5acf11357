-- ARGV: nonce, lease length in microseconds, limit, owner, the largest body, the packed failure of
-- a larger one, then each queue and the places that were chosen in it, with blanks between them, or
-- '*' for the first ones. Answers with the time, when the next waiting job will be due, what was too
-- large, the leases, and 1 when nothing is leased yet because more is due than one script may look
-- at: ask again.
local QUEUES_FROM = 7
local HEAD = 512 -- bytes; more than any head has
local nonce, owner = checked_size(ARGV[1], 24), ARGV[4]
local length, limit, largest = checked(ARGV[2]), checked(ARGV[3]), checked(ARGV[5])
local too_large = checked_told(ARGV[6])
checked_width(#ARGV - QUEUES_FROM + 1, 2)
local now = clock()
local started = text(now)
local now_place = place_until(now)
local grant_key = PREFIX .. 'grant:' .. nonce
local leases, ids, refused, alert = {}, {}, {}, false
local expires, held = text(now + length), {}

if redis.call('EXISTS', grant_key) == 1 then -- whoever asked has given up, see give_back.lua
    return { started, '', refused, leases, 0 }
end

-- The attempts so far are few different numbers, and so are the tokens.
local tokens = {}
local function token_of(attempt)
    local token = tokens[attempt]
    if not token then
        token = string.format('%08x', attempt) .. nonce
        tokens[attempt] = token
    end
    return token
end

local function start(key, queue, row)
    local attempt = attempt_of(row[2]) + 1
    redis.call(
        'HSET', key, 'status', 'running', 'token', token_of(attempt), 'started', started,
        'owner', owner
    )
    count(queue, row[1], -1)
    count(queue, 'running', 1)
    return attempt
end

-- What earlier attempts left behind; few jobs have any. A redriven one keeps its error alone.
local function past_of(key, id, row)
    if not row[2] then return row[3] and { '0', row[3], '0' } end
    local left = redis.call('HMGET', key, 'retries', 'suspect', 'cancel')
    if left[3] then
        redis.call('SADD', CANCELS, id)
        alert = true
    end
    return { left[1] or '0', row[3], left[2] or '0' }
end

local function grant(key, queue, id, row, body)
    local past = past_of(key, id, row)
    local attempt = start(key, queue, row)
    local at = 2 * #ids
    held[at + 1], held[at + 2] = expires, id
    at = 5 * #ids
    leases[at + 1], leases[at + 2], leases[at + 3] = id, attempt, queue
    leases[at + 4], leases[at + 5] = body, past
    ids[#ids + 1] = id
end

local function refuse(key, queue, id, row)
    -- Its attempt is counted as started, and ended by its size.
    local attempt = start(key, queue, row)
    end_attempt(id, read(id), 'quarantine', too_large, now)
    refused[#refused + 1] = { id, redis.call('HGET', key, 'type') or '', queue, attempt }
end

-- One byte more than may be is read, so that what is too large shows.
local function body_of(id, key)
    local body = redis.call('GETRANGE', body_key(id), 0, largest + HEAD)
    if #body > largest and #body - (string.find(body, '\n', 1, true) or 0) > largest then
        return nil
    end
    if body ~= '' then return body end
    local row = redis.call('HMGET', key, 'created', 'priority', 'max', 'type') -- it was deleted
    return string.format(
        '%d %d %d   0 %s\n', whole(row[1]), whole(row[2]), whole(row[3]), row[4] or ''
    )
end

local function take_one(queue, place)
    local id = string.sub(place, -32)
    local key = job_key(id)
    local row = redis.call('HMGET', key, 'status', 'token', 'error')
    if not row[1] or not WAITING[row[1]] then return end
    if row[1] ~= 'pending' and string.sub(place, 1, 18) > now_place then
        redis.call('ZADD', queue_key(queue, 'later'), 0, place) -- a clock set back
        return
    end
    local body = body_of(id, key)
    if body then
        grant(key, queue, id, row, body)
    else
        refuse(key, queue, id, row)
    end
end

local function take(queue)
    local ready = queue_key(queue, 'ready')
    while #ids < limit do
        local places = redis.call('ZRANGE', ready, 0, limit - #ids - 1)
        if #places == 0 then return end
        redis.call('ZREMRANGEBYRANK', ready, 0, #places - 1)
        for _, place in ipairs(places) do take_one(queue, place) end
    end
end

-- Others may have taken some of them by now.
local function take_chosen(queue, places)
    local ready = queue_key(queue, 'ready')
    for place in string.gmatch(places, '%S+') do
        if #ids == limit then return end
        if redis.call('ZREM', ready, place) == 1 then take_one(queue, place) end
    end
end

local all_seen = true
for number = QUEUES_FROM, #ARGV, 2 do
    local queue, places = ARGV[number], ARGV[number + 1]
    if places ~= '*' then
        take_chosen(queue, places)
    else
        all_seen = #ids == limit or promote(queue, now)
        if not all_seen then break end
        take(queue)
    end
end

write_all('ZADD', LEASES, held)
if #ids > 0 then
    write_all('RPUSH', grant_key, ids)
    redis.call('PEXPIRE', grant_key, math.ceil(length / 1000))
end

local next_due = ''
for number = QUEUES_FROM, #ARGV, 2 do
    local first = redis.call('ZRANGE', queue_key(ARGV[number], 'later'), 0, 0)[1]
    local due = first and string.sub(first, 1, 18) or ''
    if due ~= '' and (next_due == '' or due < next_due) then next_due = due end
end
finish()
if alert then redis.call('PUBLISH', WAKE, '*') end
return { started, next_due, refused, leases, not all_seen and #ids == 0 and 1 or 0 }
