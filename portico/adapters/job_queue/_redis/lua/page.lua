-- ARGV: which index, before which number (or ''), how many to look at, how many to find, queue or
-- '', type or '', age in microseconds or '', what ids begin with, then the statuses (none: all).
-- Newest first; answers with the rows and the number of the last job looked at, '' when there are
-- no more.
local now = clock()
local before = ARGV[2] == '' and '+inf' or '(' .. ARGV[2]
local wanted, any = {}, #ARGV < 9
for number = 9, #ARGV do wanted[ARGV[number]] = true end
local looked = redis.call(
    'ZREVRANGEBYSCORE', PREFIX .. ARGV[1], before, '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3]
)
local rows, last = {}, ''
for at = 1, #looked, 2 do
    local id = looked[at]
    last = text(tonumber(looked[at + 1]))
    local begins = string.sub(id, 1, #ARGV[8]) == ARGV[8]
    local row = begins
        and redis.call('HMGET', job_key(id), 'status', 'queue', 'type', 'ended', 'created') or {}
    if row[1] and (any or wanted[row[1]]) and (ARGV[5] == '' or ARGV[5] == row[2])
        and (ARGV[6] == '' or ARGV[6] == row[3])
        and (ARGV[7] == '' or whole(row[4] or row[5]) <= now - tonumber(ARGV[7])) then
        rows[#rows + 1] = { id, redis.call('HGETALL', job_key(id)), redis.call('GET', body_key(id)) }
        if #rows == tonumber(ARGV[4]) then return { rows, last } end
    end
end
if #looked < 2 * tonumber(ARGV[3]) then last = '' end
return { rows, last }
