-- Jobs whose rows cannot be read end here, as people will find them: nobody can run them.
local NAMELESS = 'damaged' -- the queue of what belonged to one that nobody can tell any more
local HEAD_OF_BODY = 2048

-- The queue of a row that does not say it: the one there is, or else the one in which jobs run.
local function lost_queue(runs)
    local all, busy = sound('SMEMBERS', QUEUES), {}
    if #all == 1 then return all[1] end
    for _, queue in ipairs(all) do
        if runs and whole(peek('HGET', queue_key(queue, 'counts'), 'running')) > 0 then
            busy[#busy + 1] = queue
        end
    end
    return #busy == 1 and busy[1] or NAMELESS
end

-- What a body tells of the row that it belonged to.
local function row_of_body(id, now)
    local head = peek('GETRANGE', body_key(id), 0, HEAD_OF_BODY) or ''
    local created, priority, most, due, _, _, job_type =
        string.match(head, '^(%S*) (%S*) (%S*) (%S*) (%S*) (%S*) ([^\n]*)\n')
    created = created and moment(created) or now
    return {
        type = job_type or '', priority = text(whole(priority)), max = text(whole(most)),
        created = text(created), due = due and due ~= '' and text(moment(due)) or text(created),
        seq = text(whole(peek('ZSCORE', ALL, id))),
    }
end

local function unfinished_attempt(key)
    local row = redis.call('HMGET', key, 'token', 'retries', 'releases', 'snoozes')
    local before = whole(row[2]) + whole(row[3]) + whole(row[4])
    return attempt_of(row[1]) > before
end

-- What it was before may still be written in its queue.
local function take_out(id, queue)
    for status in pairs(ENDED) do
        if sound('ZREM', queue_key(queue, status), id) == 1 then count(queue, status, -1) end
        if status ~= 'completed' then sound('ZREM', queue_key(queue, status .. ':by'), id) end
    end
    sound('ZREM', LEASES, id)
end

-- `was` is the status under which the job was counted, where that is known; `words` say what is wrong.
local function bury(id, queue, was, words, now)
    local key = job_key(id)
    if peek('HLEN', key) == nil then put_aside(key) end
    for name, value in pairs(row_of_body(id, now)) do redis.call('HSETNX', key, name, value) end
    redis.call(
        'HSET', key, 'status', 'dead_letter', 'queue', queue, 'ended', text(now), 'ended_as',
        'quarantine', 'ended_by', unfinished_attempt(key) and '1' or '0', 'error_type',
        'RowDamaged', 'error', words
    )
    redis.call('HDEL', key, 'traceback')
    local row = redis.call('HMGET', key, 'seq', 'type')
    sound('ZADD', ALL, 'NX', whole(row[1]), id)
    sound('SADD', QUEUES, queue)
    take_out(id, queue)
    ends(queue, id, row[1], 'dead_letter', now)
    if was then count(queue, was, -1) end
    count(queue, 'dead_letter', 1)
    tell('job', id, { queue, row[2] or '', words })
end
local function lost(what, key)
    local kind, name = redis.call('TYPE', key).ok, string.sub(key, #PREFIX + 1)
    return what .. ' is lost: ' .. name .. ' is of the type ' .. kind
end
local NO_STATUS = 'its status is none that a job can have'
