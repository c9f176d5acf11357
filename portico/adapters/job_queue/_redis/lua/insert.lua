-- ARGV: the most jobs that may wait in a queue, or 0; then seven per job: id, queue, type,
-- priority, the most retries, when it is due, '' or +DELAY, and its body but for when it was created
-- and with + for what comes of a delay.
local WIDTH = 7
local most = checked(ARGV[1])
checked_width(#ARGV - 1, WIDTH)
local total = (#ARGV - 1) / WIDTH
local keys = {}
for number = 1, total do
    local at = 2 + (number - 1) * WIDTH
    keys[number] = job_key(checked_size(ARGV[at], 32))
    checked(ARGV[at + 3])
    checked(ARGV[at + 4])
    if ARGV[at + 5] ~= '' then checked_moment(ARGV[at + 5]) end
end
local now = clock()
local created = text(now)

if most > 0 then
    local wanted = {}
    for number = 0, total - 1 do
        local queue = ARGV[3 + number * WIDTH]
        wanted[queue] = (wanted[queue] or 0) + 1
    end
    for queue, more in pairs(wanted) do
        local waiting = 0
        for _, found in ipairs(
            sound('HMGET', queue_key(queue, 'counts'), 'pending', 'scheduled', 'retrying')
        ) do
            waiting = waiting + whole(found)
        end
        if waiting + more > most then return { 'full', queue, waiting, more } end
    end
end

-- When a job is due, in its own words, and its body.
local function told_of(due, body)
    if string.sub(due, 1, 1) ~= '+' then return due, body end
    local instant = text(now + tonumber(due))
    return instant, (string.gsub(body, '^(%S+ %S+ )%+', '%1' .. instant, 1))
end

local function any_exist()
    for first = 1, total, AT_ONCE do
        local last = math.min(first + AT_ONCE - 1, total)
        if redis.call('EXISTS', unpack(keys, first, last)) > 0 then return true end
    end
    return false
end

-- The number of the last of these jobs; after one that was lost it goes on from the highest in use.
local function last_number()
    local found = redis.pcall('INCRBY', SEQ, total)
    if type(found) == 'number' and found <= LARGEST and found >= total then return found end
    tell('seq', 'seq', '')
    local top = sound('ZREVRANGEBYSCORE', ALL, LARGEST / 2, 0, 'WITHSCORES', 'LIMIT', 0, 1)[2]
    redis.call('SET', SEQ, text(whole(top)))
    return redis.call('INCRBY', SEQ, total)
end

local answers, seen, all, asked = {}, {}, {}, any_exist()
redis.call('SET', VERSION, '@VERSION@', 'NX')
local last = last_number() - total
for number = 1, total do
    local at = 2 + (number - 1) * WIDTH
    local id, key = ARGV[at], keys[number]
    if seen[id] or (asked and redis.call('EXISTS', key) == 1) then
        answers[number] = ''
    else
        seen[id] = true
        local queue, priority = ARGV[at + 1], ARGV[at + 3]
        local due, body = told_of(ARGV[at + 5], ARGV[at + 6])
        local seq = last + number
        local age = text(seq)
        local later = due ~= '' and tonumber(due) > now
        local status = later and 'scheduled' or 'pending'
        redis.call(
            'HSET', key, 'status', status, 'queue', queue, 'type', ARGV[at + 2], 'priority', priority,
            'max', ARGV[at + 4], 'created', created, 'due', due == '' and created or due,
            'seq', age
        )
        redis.call('SET', body_key(id), created .. ' ' .. body)
        all[#all + 1] = age
        all[#all + 1] = id
        wait_in(queue, id, seq, priority, due == '' and now or due, now, not later)
        count(queue, status, 1)
        answers[number] = status
    end
end
write_all('ZADD', ALL, all)
for queue in pairs(changes) do sound('SADD', QUEUES, queue) end
return finish({ 'stored', created, answers })
