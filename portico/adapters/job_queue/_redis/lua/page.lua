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
    local head = peek('GETRANGE', body_key(id), 0, HEAD) or ''
    return string.match(head, '^%S* %S* %S* %S* (%S*) ') == ARGV[11]
end

local function has_all(id)
    if #needles == 0 then return true end
    local start = peek('GETRANGE', body_key(id), 0, HEAD + METADATA) or ''
    for _, needle in ipairs(needles) do
        if not string.find(start, needle, 1, true) then return false end
    end
    return true
end

-- What a list looks at of a job; a row that is none is shown as what will become of it.
local function looked_at(id)
    local row = peek('HMGET', job_key(id), 'status', 'queue', 'type', 'ended', 'created')
    if not row then return { 'dead_letter', '', '', '0', '0' } end
    if not row[1] and row[5] then row[1] = 'dead_letter' end -- its status is lost
    return row
end

local function matches(id, row)
    return row[1] and (any or wanted[row[1]]) and (ARGV[5] == '' or ARGV[5] == row[2])
        and (ARGV[6] == '' or ARGV[6] == row[3])
        and (ARGV[7] == '' or moment(row[4] or row[5]) <= now - tonumber(ARGV[7]))
        and (ARGV[12] == '' or moment(row[5]) >= tonumber(ARGV[12]))
        and (ARGV[13] == '' or moment(row[5]) < tonumber(ARGV[13]))
        and is_creators(id) and has_all(id)
end

local function shown(id)
    local found, pairs_ = peek('HMGET', job_key(id), unpack(SHOWN)) or {}, {}
    local kind = #found == 0 and redis.call('TYPE', job_key(id)).ok or ''
    for number, name in ipairs(SHOWN) do
        if found[number] then
            pairs_[#pairs_ + 1] = name
            pairs_[#pairs_ + 1] = found[number]
        end
    end
    if documents then return { id, pairs_, peek('GET', body_key(id)) or false, kind } end
    local part = #needles > 0 and HEAD + METADATA or HEAD
    return { id, pairs_, peek('GETRANGE', body_key(id), 0, part) or false, kind }
end

local looked = peek(
    'ZREVRANGEBYSCORE', PREFIX .. ARGV[1], before, '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3]
) or {}
local rows, last, size = {}, '', 0
for at = 1, #looked, 2 do
    local id = looked[at]
    local begins = is_id(id) and string.sub(id, 1, #ARGV[8]) == ARGV[8]
    local row = begins and looked_at(id) or {}
    if matches(id, row) then
        local more = documents and peek('STRLEN', body_key(id)) or 0
        if size + more > room and #rows > 0 then return { rows, last, (at - 1) / 2, size, 1 } end
        size = size + more
        rows[#rows + 1] = shown(id)
    end
    last = text(whole(looked[at + 1]))
    if #rows == most then return { rows, last, (at + 1) / 2, size, 0 } end
end
if #looked < 2 * tonumber(ARGV[3]) then last = '' end
return { rows, last, #looked / 2, size, 0 }
