-- ARGV: behind which number to go on ('': from the beginning), how many jobs to look at, lease length
-- in microseconds. What a failover, a restored copy or a stranger took away is put back as far as it
-- follows from the rows: the place of a job that waits, the lease of one that runs, the entry of one
-- that ended. Answers with the number of the last job looked at, '' when that was the last one.
local most, length = checked(ARGV[2]), checked(ARGV[3])
local after = ARGV[1] == '' and '-inf' or '(' .. text(checked(ARGV[1]))
local FARTHEST_LEASE = math.max(2 * length, 30 * 86400 * 1000000)
local CANCELS_AT_ONCE = 1000
local now = clock()
local held, found_again, known = gather('ZADD', LEASES), {}, {}

local function tell_of_job_in(queue) found_again[queue] = (found_again[queue] or 0) + 1 end
local function know(queue)
    if not known[queue] then sound('SADD', QUEUES, queue) end
    known[queue] = true
end

local function is_waiting(queue, place)
    return sound('ZSCORE', queue_key(queue, 'ready'), place)
        or sound('ZSCORE', queue_key(queue, 'later'), place)
end
local function queue_of_place(place)
    for _, queue in ipairs(sound('SMEMBERS', QUEUES)) do
        if is_waiting(queue, place) then return queue end
    end
end
local function is_held(id)
    local ends_at = tonumber(sound('ZSCORE', LEASES, id) or nil)
    return ends_at and ends_at <= now + FARTHEST_LEASE
end

local function find_place(id, row)
    local place = place_of(row.due, row.seq, id)
    local queue = row.queue or queue_of_place(place) or lost_queue(false)
    know(queue)
    if is_waiting(queue, place) then return end
    if not row.queue then redis.call('HSET', job_key(id), 'queue', queue) end
    wait_in(queue, id, row.seq, row.priority, row.due, now, row.status == 'pending')
    tell_of_job_in(queue)
end

local function find_end(id, row)
    local queue = row.queue or lost_queue(false)
    know(queue)
    local is_listed = sound('ZSCORE', queue_key(queue, row.status), id)
        and (row.status == 'completed'
            or sound('ZSCORE', queue_key(queue, row.status .. ':by'), id))
    if is_listed then return end
    ends(queue, id, row.seq, row.status, row.ended and moment(row.ended) or now)
    tell_of_job_in(queue)
end

local function mend(id)
    if not is_id(id) then return drop(ALL, id) end
    local key = job_key(id)
    local found = peek('HMGET', key, 'status', 'queue', 'seq', 'priority', 'due', 'ended')
    local row = found and {
        status = found[1], queue = found[2], seq = found[3], priority = found[4], due = found[5],
        ended = found[6],
    }
    if row and WAITING[row.status] then return find_place(id, row) end
    if row and ENDED[row.status] then return find_end(id, row) end
    if is_held(id) then return end -- of which its end will be told, or that it ran out
    if row and row.status == 'running' then
        held[#held + 1], held[#held + 2] = text(now + length), id
        if row.queue then know(row.queue) end
        return tell_of_job_in(row.queue or '')
    end
    local exists = redis.call('EXISTS', key) == 1
    if not exists and redis.call('EXISTS', body_key(id)) == 0 then return drop(ALL, id) end
    local words = not row and lost('its row', key) or exists and NO_STATUS or 'its row is gone'
    local told = row_of_body(id, now)
    local place = place_of(told.due, told.seq, id)
    local queue = row and row.queue or queue_of_place(place)
    bury(id, queue or lost_queue(false), queue and 'pending', words, now)
    if queue then
        sound('ZREM', queue_key(queue, 'ready'), place)
        sound('ZREM', queue_key(queue, 'later'), place)
    end
end

local looked = sound('ZRANGEBYSCORE', ALL, after, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
local last = ''
for at = 1, #looked, 2 do
    mend(looked[at])
    last = text(whole(looked[at + 1]))
end
if #looked < 2 * most then last = '' end

for _, id in ipairs(sound('SRANDMEMBER', CANCELS, CANCELS_AT_ONCE)) do
    local status = is_id(id) and peek('HGET', job_key(id), 'status')
    if not status or WAITING[status] or ENDED[status] then redis.call('SREM', CANCELS, id) end
end

for queue, number in pairs(found_again) do tell('found', queue, text(number)) end
local answer = finish(last)
if ARGV[1] ~= '' then return answer end

-- Once per round the counts are held against what they count.
local function has(queue, statuses, parts)
    local counted, there = 0, 0
    for _, number in ipairs(sound('HMGET', queue_key(queue, 'counts'), unpack(statuses))) do
        counted = counted + whole(number)
    end
    for _, part in ipairs(parts) do there = there + sound('ZCARD', queue_key(queue, part)) end
    return counted == there
end
local queues, running = sound('SMEMBERS', QUEUES), 0
for _, queue in ipairs(queues) do
    running = running + whole(sound('HGET', queue_key(queue, 'counts'), 'running'))
end
local all_run = running == sound('ZCARD', LEASES)
for _, queue in ipairs(queues) do
    local adds_up = has(queue, { 'pending', 'scheduled', 'retrying' }, { 'ready', 'later' })
    for status in pairs(ENDED) do adds_up = adds_up and has(queue, { status }, { status }) end
    if not (adds_up and all_run) then count_anew(queue) end
end
return with_damage(last)
