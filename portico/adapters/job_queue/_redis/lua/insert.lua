-- ARGV: the most jobs that may wait in a queue, or 0; then nine per job.
local WIDTH = 9
local now = clock()
local total = (#ARGV - 1) / WIDTH

local most = tonumber(ARGV[1])
if most > 0 then
    local wanted = {}
    for number = 0, total - 1 do
        local queue = ARGV[3 + number * WIDTH]
        wanted[queue] = (wanted[queue] or 0) + 1
    end
    for queue, more in pairs(wanted) do
        local waiting = 0
        for _, found in ipairs(
            redis.call('HMGET', queue_key(queue, 'counts'), 'pending', 'scheduled', 'retrying')
        ) do
            waiting = waiting + (tonumber(found) or 0)
        end
        if waiting + more > most then return { 'full', queue, waiting, more } end
    end
end

local answers = {}
local last = redis.call('INCRBY', SEQ, total) - total
for number = 0, total - 1 do
    local at = 2 + number * WIDTH
    local id, queue, priority, due = ARGV[at], ARGV[at + 1], ARGV[at + 4], ARGV[at + 6]
    local key = job_key(id)
    if redis.call('EXISTS', key) == 1 then
        answers[number + 1] = ''
    else
        local seq = last + number + 1
        local later = due ~= '' and tonumber(due) > now
        local status = later and 'scheduled' or 'pending'
        local row = {
            'queue', queue, 'type', ARGV[at + 2], 'priority', priority, 'max', ARGV[at + 5],
            'created', text(now), 'due', due == '' and text(now) or due, 'seq', text(seq),
            'status', status,
        }
        if due ~= '' then row[#row + 1] = 'scheduled'; row[#row + 1] = due end
        if ARGV[at + 7] ~= '' then row[#row + 1] = 'by'; row[#row + 1] = ARGV[at + 7] end
        if ARGV[at + 8] ~= '{}' then row[#row + 1] = 'metadata'; row[#row + 1] = ARGV[at + 8] end
        redis.call('HSET', key, unpack(row))
        redis.call('SET', body_key(id), ARGV[at + 3])
        redis.call('ZADD', ALL, seq, id)
        wait_in(queue, id, seq, priority, due == '' and now or due, now, not later)
        count(queue, status, 1)
        answers[number + 1] = status
    end
end
for queue in pairs(changes) do redis.call('SADD', QUEUES, queue) end
finish()
return { 'stored', text(now), answers }
