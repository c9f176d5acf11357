-- What every script begins with: the clock, the names of the keys, and the books that it keeps.
--
-- KEYS[1] is the prefix of all keys of one namespace, with its hash tag: all of them lie in one
-- slot. A script reads and checks first and writes afterwards, for Redis undoes nothing: whatever
-- is wrong with its arguments is found out before its first write.

local PREFIX = KEYS[1]
local WAITING = { pending = true, scheduled = true, retrying = true }
local ENDED = { completed = true, failed = true, dead_letter = true }

local function job_key(id) return PREFIX .. 'job:' .. id end
local function body_key(id) return PREFIX .. 'body:' .. id end
local function history_key(id) return PREFIX .. 'history:' .. id end
local function queue_key(queue, part) return PREFIX .. 'queue:' .. queue .. ':' .. part end
local LEASES, ALL, CANCELS = PREFIX .. 'leases', PREFIX .. 'all', PREFIX .. 'cancels'
local QUEUES, SEQ, WAKE = PREFIX .. 'queues', PREFIX .. 'seq', PREFIX .. 'wake'
local VERSION = PREFIX .. 'version'

local function text(number) return string.format('%d', number) end

-- The same of an instant that many jobs share. Redis would print a number anew for each of them,
-- and as one with a fraction.
local printed, printed_as
local function stamp(instant)
    if printed ~= instant then printed, printed_as = instant, text(instant) end
    return printed_as
end

local LARGEST = 9007199254740992 -- up to here each number is itself
local function is_countable(number)
    return number ~= nil and number == number and math.abs(number) <= LARGEST
end

-- A number of a row. A damaged one counts as 0: an error half-way would lose the jobs beside it.
local function whole(value)
    local number = tonumber(value)
    return is_countable(number) and number or 0
end

-- A waiting job's place sorts by when it is due, then by age; the score before it is the priority.
local function place_of(due, seq, id)
    return string.format('%018d:%016d:%s', whole(due), whole(seq), id)
end

-- How the places begin of those that are due now.
local function place_until(now) return string.format('%018d', now) end

-- Of the attempts so far: a token begins with the number of its own.
local function attempt_of(token)
    return token and whole(tonumber(string.sub(token, 1, 8), 16)) or 0
end

-- An argument that must be a whole number.
local function checked(value)
    local number = tonumber(value)
    if not is_countable(number) or number ~= math.floor(number) then
        error('an argument is no number: ' .. tostring(value), 0)
    end
    return number
end
local function checked_size(value, size)
    if not value or #value ~= size then error('an argument has the wrong size', 0) end
    return value
end
local function checked_width(count, width)
    if count < 0 or count % width ~= 0 then error('arguments are missing', 0) end
end

-- What many jobs add to a key, or take from it, is gathered, and written by one command. Nothing
-- reads these keys before the end but what knows of it.
local AT_ONCE = 4000
local gathered = {}
local function gather(command, key)
    local name = command .. key
    local found = gathered[name]
    if not found then
        found = { command = command, key = key }
        gathered[name] = found
    end
    return found
end
local function write_all(command, key, values)
    for first = 1, #values, AT_ONCE do
        redis.call(command, key, unpack(values, first, math.min(first + AT_ONCE - 1, #values)))
    end
end

-- Jobs per queue and status: changes are gathered too.
local changes = {}
local function count(queue, status, by)
    local of = changes[queue]
    if not of then
        of = {}
        changes[queue] = of
    end
    of[status] = (of[status] or 0) + by
end
local function write_counts()
    for queue, of in pairs(changes) do
        for status, by in pairs(of) do
            if by ~= 0 then redis.call('HINCRBY', queue_key(queue, 'counts'), status, by) end
        end
    end
end

-- Whoever has found a queue empty is told when it is not any more, or when something in it will be
-- due earlier than anything was: one message per queue and script, however many jobs come.
local news, earliest = {}, {}
local function wait_in(queue, id, seq, priority, due, now, fresh)
    local place = place_of(due, seq, id)
    if fresh or whole(due) <= now then
        local key = queue_key(queue, 'ready')
        local ready = gather('ZADD', key)
        if #ready == 0 and redis.call('ZCARD', key) == 0 then news[queue] = true end
        ready[#ready + 1] = -whole(priority)
        ready[#ready + 1] = place
        return
    end
    local later = gather('ZADD', queue_key(queue, 'later'))
    later[#later + 1] = 0
    later[#later + 1] = place
    if not earliest[queue] or place < earliest[queue] then earliest[queue] = place end
end
local function find_news()
    for queue, place in pairs(earliest) do
        local first = redis.call('ZRANGE', queue_key(queue, 'later'), 0, 0)[1]
        if not first or place < first then news[queue] = true end
    end
end

local function ends(queue, id, seq, status, now)
    local ended = gather('ZADD', queue_key(queue, status))
    ended[#ended + 1] = stamp(now)
    ended[#ended + 1] = id
    if status ~= 'completed' then
        local by_age = gather('ZADD', queue_key(queue, status .. ':by'))
        by_age[#by_age + 1] = whole(seq)
        by_age[#by_age + 1] = id
    end
end
local function ends_no_more(queue, id, status)
    redis.call('ZREM', queue_key(queue, status), id)
    if status ~= 'completed' then redis.call('ZREM', queue_key(queue, status .. ':by'), id) end
end

local function finish()
    find_news()
    for _, values in pairs(gathered) do write_all(values.command, values.key, values) end
    write_counts()
    for queue in pairs(news) do redis.call('PUBLISH', WAKE, queue) end
end
