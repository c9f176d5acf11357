-- ARGV: id, error type, error message. A job that waits ends.
checked_width(#ARGV - 3, 3)
local id = ARGV[1]
local row, is_lost = read(id)
local now = clock()
if is_lost then
    bury(id, lost_queue(), nil, lost('its row', job_key(id)), now)
    return finish(0)
end
if not row or not WAITING[row.status] then return 0 end
local place = place_of(row.due, row.seq, id)
sound('ZREM', queue_key(row.queue, 'ready'), place)
sound('ZREM', queue_key(row.queue, 'later'), place)
redis.call(
    'HSET', job_key(id), 'status', 'failed', 'ended', text(now), 'error_type', ARGV[2], 'error',
    ARGV[3]
)
redis.call('HDEL', job_key(id), 'traceback')
ends(row.queue, id, row.seq, 'failed', now)
count(row.queue, row.status, -1)
count(row.queue, 'failed', 1)
return finish(1)
