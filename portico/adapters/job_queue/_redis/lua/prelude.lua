-- What every script begins with: the clock, the names of the keys, and the books that it keeps.
--
-- KEYS[1] is the prefix of all keys of one namespace, with its hash tag: all of them lie in one
-- slot. A script reads and checks first and writes afterwards, for Redis undoes nothing.

local PREFIX = KEYS[1]
local WAITING = { pending = true, scheduled = true, retrying = true }
local ENDED = { completed = true, failed = true, dead_letter = true }

local function job_key(id) return PREFIX .. 'job:' .. id end
local function body_key(id) return PREFIX .. 'body:' .. id end
local function history_key(id) return PREFIX .. 'history:' .. id end
local function queue_key(queue, part) return PREFIX .. 'queue:' .. queue .. ':' .. part end
local LEASES, ALL, CANCELS = PREFIX .. 'leases', PREFIX .. 'all', PREFIX .. 'cancels'
local QUEUES, SEQ, WAKE = PREFIX .. 'queues', PREFIX .. 'seq', PREFIX .. 'wake'

local function text(number) return string.format('%.0f', number) end

-- A number of a row. A damaged one counts as 0: an error half-way would lose the jobs beside it.
local function whole(value) return tonumber(value) or 0 end

-- A waiting job's place sorts by when it is due, then by age; the score before it is the priority.
local function place_of(due, seq, id)
    return string.format('%018.0f:%016.0f:%s', whole(due), whole(seq), id)
end

-- Jobs per queue and status: changes are gathered, and written once.
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
local news = {}
local function wait_in(queue, id, seq, priority, due, now, fresh)
    local place = place_of(due, seq, id)
    local ready, later = queue_key(queue, 'ready'), queue_key(queue, 'later')
    if fresh or whole(due) <= now then
        if not news[queue] and redis.call('ZCARD', ready) == 0 then news[queue] = true end
        redis.call('ZADD', ready, -whole(priority), place)
        return
    end
    redis.call('ZADD', later, 0, place)
    if not news[queue] and redis.call('ZRANGE', later, 0, 0)[1] == place then news[queue] = true end
end
local function publish_news()
    for queue in pairs(news) do redis.call('PUBLISH', WAKE, queue) end
end

local function ends(queue, id, seq, status, now)
    redis.call('ZADD', queue_key(queue, status), now, id)
    if status ~= 'completed' then redis.call('ZADD', queue_key(queue, status .. ':by'), whole(seq), id) end
end
local function ends_no_more(queue, id, status)
    redis.call('ZREM', queue_key(queue, status), id)
    if status ~= 'completed' then redis.call('ZREM', queue_key(queue, status .. ':by'), id) end
end

local function finish()
    write_counts()
    publish_news()
end
