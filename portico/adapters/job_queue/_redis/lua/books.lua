-- The books that scripts keep which write: what they change is gathered, and written at the end.

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
        sound(command, key, unpack(values, first, math.min(first + AT_ONCE - 1, #values)))
    end
end

-- Jobs per queue and status: changes are gathered too.
local COUNTED_ONE_BY_ONE = 10000 -- of more the last ones count as pending
local changes = {}
local function count(queue, status, by)
    local of = changes[queue]
    if not of then
        of = {}
        changes[queue] = of
    end
    of[status] = (of[status] or 0) + by
end

-- How many entries of an index lead to jobs of this queue that have one of these statuses; the others
-- are taken out. Of many entries those from before the last ones count unseen, as `rest`.
local function count_in(queue, part, of, rest)
    local index = queue_key(queue, part)
    local unseen = math.max(0, sound('ZCARD', index) - COUNTED_ONE_BY_ONE)
    of[rest] = of[rest] + unseen
    for _, entry in ipairs(redis.call('ZRANGE', index, unseen, -1)) do
        local row = peek('HMGET', job_key(string.sub(entry, -32)), 'status', 'queue')
        if row and row[2] == queue and of[row[1]] then
            of[row[1]] = of[row[1]] + 1
        elseif row then -- the others are buried by who finds them
            drop(index, entry)
        end
    end
end

-- How many run in each queue, looked at once per script; a lease of a job that is gone is taken out.
local running_in
local function count_running(queue)
    if running_in then return running_in[queue] or 0 end
    running_in = {}
    for _, id in ipairs(sound('ZRANGE', LEASES, 0, COUNTED_ONE_BY_ONE - 1)) do
        local row = peek('HMGET', job_key(id), 'status', 'queue')
        if row and row[1] == 'running' then
            if row[2] then running_in[row[2]] = (running_in[row[2]] or 0) + 1 end
        elseif not is_id(id) or (row and is_status(row[1]))
            or redis.call('EXISTS', job_key(id), body_key(id)) == 0 then
            drop(LEASES, id)
        end
    end
    return running_in[queue] or 0
end

-- Counts that do not add up, or cannot be added to, are made anew from what is there by now.
local function count_anew(queue)
    local all = { pending = 0, scheduled = 0, retrying = 0 }
    for _, part in ipairs({ 'ready', 'later' }) do count_in(queue, part, all, 'pending') end
    for status in pairs(ENDED) do
        local ended = { [status] = 0 }
        count_in(queue, status, ended, status)
        all[status] = ended[status]
    end
    all.running = count_running(queue)
    local key = queue_key(queue, 'counts')
    local is_news = sound('HLEN', key) == 0
    for status, number in pairs(all) do
        is_news = is_news or whole(redis.call('HGET', key, status)) ~= number
    end
    redis.call('DEL', key)
    for status, number in pairs(all) do redis.call('HSET', key, status, number) end
    if is_news then tell('counts', queue, '') end
end
local function write_counts()
    for queue, of in pairs(changes) do
        local key = queue_key(queue, 'counts')
        for status, by in pairs(of) do
            if by ~= 0 and type(redis.pcall('HINCRBY', key, status, by)) == 'table' then
                count_anew(queue)
                break
            end
        end
    end
end

-- Whoever has found a queue empty is told when it is not any more, or when something in it will be
-- due earlier than anything was: one message per queue and script, however many jobs come.
local news, earliest = {}, {}
local function wait_in(queue, id, seq, priority, due, now, fresh)
    local place = place_of(due, seq, id)
    if fresh or moment(due) <= now then
        local key = queue_key(queue, 'ready')
        local ready = gather('ZADD', key)
        if #ready == 0 and sound('ZCARD', key) == 0 then news[queue] = true end
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
        local first = sound('ZRANGE', queue_key(queue, 'later'), 0, 0)[1]
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
    sound('ZREM', queue_key(queue, status), id)
    if status ~= 'completed' then sound('ZREM', queue_key(queue, status .. ':by'), id) end
end

-- What a script ends with: it writes what was gathered, and answers, with the damage that it met.
local function finish(answer)
    find_news()
    for _, values in pairs(gathered) do write_all(values.command, values.key, values) end
    write_counts()
    for queue in pairs(news) do redis.call('PUBLISH', WAKE, queue) end
    return with_damage(answer)
end
