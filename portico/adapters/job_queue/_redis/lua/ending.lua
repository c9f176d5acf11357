-- The state table of the port: how a running attempt ends. `word` is what the row will say ended
-- it; `told` is the failure as it is stored, the delay, the patience and the note for the history.
local MAX_CRASHES, MAX_EXPIRIES = tonumber('@MAX_CRASHES@'), tonumber('@MAX_EXPIRIES@')
local MAX_HISTORY = tonumber('@MAX_HISTORY@')
local READ = {
    'status', 'token', 'ended_as', 'queue', 'seq', 'priority', 'due', 'max', 'retries', 'crashes',
    'expiries', 'since', 'cancel', 'started', 'owner', 'releases', 'snoozes',
}

-- The row of a job, or nil; and true where there is something else in its place.
local function read(id)
    local found = peek('HMGET', job_key(id), unpack(READ))
    if not found then return nil, true end
    local row = {}
    for number, name in ipairs(READ) do row[name] = found[number] or nil end
    if next(row) == nil then return nil, false end
    row.queue = row.queue or lost_queue(row.status == 'running')
    row.attempt = attempt_of(row.token)
    return row
end

-- The packed arguments of `end_attempt`, held against what it takes.
local function checked_told(packed)
    local told = cmsgpack.unpack(packed)
    if type(told) ~= 'table' then error('an ending is none', 0) end
    checked(told[5])
    checked(told[6])
    return told
end

-- An attempt is running, whatever its damaged row says, when its holder can name its token.
local function runs(status, token, given)
    return not is_status(status) and given ~= '' and given == token
end

local function number_of(row, name) return whole(row[name]) end

local function next_status(row, word, patience, now)
    local spent = number_of(row, 'retries') >= number_of(row, 'max')
    if word == 'fail' then return 'failed' end
    if word == 'quarantine' then return 'dead_letter' end
    if word == 'release' then return 'pending' end
    if word == 'interrupt' or word == 'suspect' then
        return number_of(row, 'max') == 0 and 'dead_letter' or 'pending'
    end
    if word == 'snooze' then
        local tired = patience >= 0 and row.since and now - moment(row.since) > patience
        return tired and 'dead_letter' or 'scheduled'
    end
    if word == 'crash' then spent = spent or number_of(row, 'crashes') + 1 >= MAX_CRASHES end
    if word == 'expire' then spent = spent or number_of(row, 'expiries') + 1 >= MAX_EXPIRIES end
    return spent and 'dead_letter' or 'retrying'
end

local any_cancels
local function hold_no_more(id, queue)
    local held = gather('ZREM', LEASES)
    held[#held + 1] = id
    if any_cancels == nil then any_cancels = sound('SCARD', CANCELS) > 0 end
    if any_cancels then
        local asked = gather('SREM', CANCELS)
        asked[#asked + 1] = id
    end
    count(queue, 'running', -1)
end

-- A completed job was ended by its attempt, and as `complete`: that is not written down again.
local function complete(id, queue, result, now, ended)
    local key = job_key(id)
    if result == '' then
        redis.call('HSET', key, 'status', 'completed', 'ended', ended)
    else
        redis.call('HSET', key, 'status', 'completed', 'ended', ended, 'result', result)
    end
    hold_no_more(id, queue)
    ends(queue, id, nil, 'completed', now)
    count(queue, 'completed', 1)
    return 'ok:completed'
end

local function remember(id, row, word, note, now)
    local key = history_key(id)
    sound('RPUSH', key, cmsgpack.pack({
        row.attempt, word, row.started or '', text(now), row.owner or '', note,
    }))
    redis.call('LTRIM', key, -MAX_HISTORY, -1)
end

local function end_attempt(id, row, word, told, now)
    local kind, message, traceback, last_word, delay, patience, note = unpack(told)
    local status = next_status(row, word, patience, now)
    local set, gone = { 'status', status, 'ended_as', word }, {}
    local function put(name, value) set[#set + 1] = name; set[#set + 1] = value end
    local function add(name) put(name, text(number_of(row, name) + 1)) end

    if status == 'dead_letter' and number_of(row, 'max') == 0 then message = last_word end
    if message then
        put('error', message)
        if kind then put('error_type', kind) else gone[#gone + 1] = 'error_type' end
        if traceback then put('traceback', traceback) else gone[#gone + 1] = 'traceback' end
    end
    if word == 'crash' then add('crashes') end
    if word == 'expire' then add('expiries') end
    if status == 'failed' or status == 'dead_letter' then
        put('ended', text(now))
        put('ended_by', '1')
    elseif status == 'pending' then
        add('releases')
        if word == 'suspect' then put('suspect', '1') end
    elseif status == 'retrying' then
        add('retries')
    else
        add('snoozes')
    end
    if word == 'snooze' then
        put('since', row.since or text(now))
    elseif word ~= 'release' and word ~= 'expire' then
        gone[#gone + 1] = 'since'
    end
    local due = row.due
    if status == 'retrying' or status == 'scheduled' then
        due = text(now + delay)
        put('due', due)
    end

    hold_no_more(id, row.queue)
    redis.call('HSET', job_key(id), unpack(set))
    if #gone > 0 then redis.call('HDEL', job_key(id), unpack(gone)) end
    if note then
        -- `end_of` of `_attempts.py`.
        local said = word == 'retry' and status == 'dead_letter' and status or word
        remember(id, row, said, note, now)
    end
    count(row.queue, status, 1)
    if WAITING[status] then
        wait_in(row.queue, id, row.seq, row.priority, due, now, status == 'pending')
    else
        ends(row.queue, id, row.seq, status, now)
    end
    return status
end
