-- ARGV: nonce, lease length in microseconds, limit, owner, the largest body, the packed failure of
-- a larger one, then each queue and the places that were chosen in it, with blanks between them, or
-- '*' for the first ones. Answers with the time, when the next waiting job will be due, what was too
-- large, the leases, and 1 when nothing is leased yet because there is more than one script may look
-- at: ask again.
local QUEUES_FROM = 7
local HEAD = 512 -- bytes; more than any head has
local LONGEST_ERROR = 65536
local LOOKED_AT_IN_VAIN = 4000
local LAST_ATTEMPT = 4294967295 -- in four bytes; of a damaged row the next one is the first
local nonce, owner = checked_size(ARGV[1], 24), ARGV[4]
local length, limit, largest = checked(ARGV[2]), checked(ARGV[3]), checked(ARGV[5])
local too_large = checked_told(ARGV[6])
checked_width(#ARGV - QUEUES_FROM + 1, 2)
local now = clock()
local started = text(now)
local now_place = place_until(now)
local grant_key = PREFIX .. 'grant:' .. nonce
local leases, ids, refused, alert = {}, {}, {}, false
local expires, held, looked = text(now + length), {}, 0

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
    local attempt = attempt_of(row[2]) % LAST_ATTEMPT + 1
    redis.call(
        'HSET', key, 'status', 'running', 'token', token_of(attempt), 'started', started,
        'owner', owner
    )
    if row[4] ~= queue then redis.call('HSET', key, 'queue', queue) end -- where it stands
    count(queue, row[1], -1)
    count(queue, 'running', 1)
    return attempt
end

-- What earlier attempts left behind; few jobs have any. A redriven one keeps its error alone.
local function past_of(key, id, row)
    local failure = row[3] and string.sub(row[3], 1, LONGEST_ERROR)
    if not row[2] then return failure and { '0', failure, '0' } end
    local left = redis.call('HMGET', key, 'retries', 'suspect', 'cancel')
    if left[3] then
        sound('SADD', CANCELS, id)
        alert = true
    end
    return { text(whole(left[1])), failure, left[2] == '1' and '1' or '0' }
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

local function is_too_large(body)
    return #body - (string.find(body, '\n', 1, true) or 0) > largest
end

local function take_whole(key, queue, id, row)
    -- One byte more than may be is read, so that what is too large shows.
    local body = redis.pcall('GETRANGE', body_key(id), 0, largest + HEAD)
    if body == '' then -- it was deleted
        local more = redis.call('HMGET', key, 'created', 'priority', 'max', 'type')
        body = string.format(
            '%d %d %d   0 %s\n', moment(more[1]), whole(more[2]), whole(more[3]), more[4] or ''
        )
    end
    if body.err and is_of_another_kind(body) then
        bury(id, queue, row[1], lost('its payload', body_key(id)), now)
    elseif #body > largest and is_too_large(body) then
        refuse(key, queue, id, row)
    else
        grant(key, queue, id, row, body)
    end
end

-- What is no job of ours is passed over; whoever calls this takes the place out, whatever it was.
local function take_one(queue, ready, place)
    local id = string.sub(place, -32)
    local key = job_key(id)
    local row = redis.pcall('HMGET', key, 'status', 'token', 'error', 'queue')
    if not is_id(id) then return tell_of_entry(ready, place) end
    if row.err and is_of_another_kind(row) then
        return bury(id, queue, 'pending', lost('its row', key), now)
    end
    local status = row[1]
    if not WAITING[status] then
        if is_status(status) or redis.call('EXISTS', key) == 0 then return end
        return bury(id, queue, 'pending', NO_STATUS, now)
    end
    if status ~= 'pending' and string.sub(place, 1, 18) > now_place then
        sound('ZADD', queue_key(queue, 'later'), 0, place) -- a clock set back
        return
    end
    take_whole(key, queue, id, row)
end

-- Whether it has taken all that it may, or all that there is: many places may lead to no job.
local function take(queue)
    local ready = queue_key(queue, 'ready')
    while #ids < limit do
        if looked > limit + LOOKED_AT_IN_VAIN then return false end
        local places = sound('ZRANGE', ready, 0, limit - #ids - 1)
        if #places == 0 then break end
        looked = looked + #places
        for _, place in ipairs(places) do take_one(queue, ready, place) end
        redis.call('ZREMRANGEBYRANK', ready, 0, #places - 1)
    end
    return true
end

-- Others may have taken some of them by now.
local function take_chosen(queue, places)
    local ready = queue_key(queue, 'ready')
    for place in string.gmatch(places, '%S+') do
        if #ids == limit then return end
        if sound('ZSCORE', ready, place) then
            take_one(queue, ready, place)
            redis.call('ZREM', ready, place)
        end
    end
end

local all_seen = true
for number = QUEUES_FROM, #ARGV, 2 do
    local queue, places = ARGV[number], ARGV[number + 1]
    if places ~= '*' then
        take_chosen(queue, places)
    else
        all_seen = #ids == limit or (promote(queue, now) and take(queue))
        if not all_seen then break end
    end
end

write_all('ZADD', LEASES, held)
if #ids > 0 then
    write_all('RPUSH', grant_key, ids)
    redis.call('PEXPIRE', grant_key, math.ceil(length / 1000))
end

local next_due = ''
for number = QUEUES_FROM, #ARGV, 2 do
    local later = queue_key(ARGV[number], 'later')
    local first = sound('ZRANGE', later, 0, 0)[1]
    if first and not is_place(first) then
        drop(later, first)
        first = nil
    end
    local due = first and string.sub(first, 1, 18) or ''
    if due ~= '' and (next_due == '' or due < next_due) then next_due = due end
end
if alert then redis.call('PUBLISH', WAKE, '*') end
return finish({ started, next_due, refused, leases, not all_seen and #ids == 0 and 1 or 0 })
