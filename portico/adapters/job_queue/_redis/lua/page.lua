-- ARGV: which index, before which number (or ''), how many to look at, how many to find, queue or
-- '', type or '', age in microseconds or '', what ids begin with, 1 when documents are wanted, how
-- many bytes of them, creator or '', created at or after and before (or ''), how many texts a body
-- must have and these, then the statuses (none: all). Newest first; answers with the rows, the number of the last job
-- looked at, '' when there are no more, how many were looked at, the bytes of the documents, and 1
-- when there was no room for those of the next.
local HEAD, METADATA = 2048, 65536 -- bytes; as many as either may have
local SHOWN = {
    'status', 'queue', 'type', 'priority', 'max', 'created', 'due', 'seq', 'token', 'ended_as', 'retries',
    'releases', 'snoozes', 'since', 'crashes', 'expiries', 'suspect', 'cancel', 'started', 'ended',
    'ended_by', 'error_type', 'error', 'owner',
}
local now = clock()
local before = ARGV[2] == '' and '+inf' or '(' .. ARGV[2]
local most, documents, room = tonumber(ARGV[4]), ARGV[9] == '1', tonumber(ARGV[10])
local needles, wanted, any = {}, {}, true
for number = 15, 14 + tonumber(ARGV[14]) do needles[#needles + 1] = ARGV[number] end
for number = 15 + #needles, #ARGV do wanted[ARGV[number]], any = true, false end

local function is_creators(id)
    if ARGV[11] == '' then return true end
    local head = redis.call('GETRANGE', body_key(id), 0, HEAD)
    return string.match(head, '^%S* %S* %S* %S* (%S*) ') == ARGV[11]
end

local function has_all(id)
    if #needles == 0 then return true end
    local start = redis.call('GETRANGE', body_key(id), 0, HEAD + METADATA)
    for _, needle in ipairs(needles) do
        if not string.find(start, needle, 1, true) then return false end
    end
    return true
end

local function matches(id, row)
    return row[1] and (any or wanted[row[1]]) and (ARGV[5] == '' or ARGV[5] == row[2])
        and (ARGV[6] == '' or ARGV[6] == row[3])
        and (ARGV[7] == '' or whole(row[4] or row[5]) <= now - tonumber(ARGV[7]))
        and (ARGV[12] == '' or whole(row[5]) >= tonumber(ARGV[12]))
        and (ARGV[13] == '' or whole(row[5]) < tonumber(ARGV[13]))
        and is_creators(id) and has_all(id)
end

local function shown(id)
    local found, pairs_ = redis.call('HMGET', job_key(id), unpack(SHOWN)), {}
    for number, name in ipairs(SHOWN) do
        if found[number] then
            pairs_[#pairs_ + 1] = name
            pairs_[#pairs_ + 1] = found[number]
        end
    end
    if documents then return { id, pairs_, redis.call('GET', body_key(id)) } end
    local part = #needles > 0 and HEAD + METADATA or HEAD
    return { id, pairs_, redis.call('GETRANGE', body_key(id), 0, part) }
end

local looked = redis.call(
    'ZREVRANGEBYSCORE', PREFIX .. ARGV[1], before, '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3]
)
local rows, last, size = {}, '', 0
for at = 1, #looked, 2 do
    local id = looked[at]
    local begins = string.sub(id, 1, #ARGV[8]) == ARGV[8]
    local row = begins
        and redis.call('HMGET', job_key(id), 'status', 'queue', 'type', 'ended', 'created') or {}
    if matches(id, row) then
        local more = documents and redis.call('STRLEN', body_key(id)) or 0
        if size + more > room and #rows > 0 then return { rows, last, (at - 1) / 2, size, 1 } end
        size = size + more
        rows[#rows + 1] = shown(id)
    end
    last = text(tonumber(looked[at + 1]))
    if #rows == most then return { rows, last, (at + 1) / 2, size, 0 } end
end
if #looked < 2 * tonumber(ARGV[3]) then last = '' end
return { rows, last, #looked / 2, size, 0 }
