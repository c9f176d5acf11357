-- ARGV: ids. What failed starts afresh; its last error and its history stay for people to read.
local now = clock()
local changed = {}
for _, id in ipairs(ARGV) do
    local row = read(id)
    if row and (row.status == 'failed' or row.status == 'dead_letter') then
        ends_no_more(row.queue, id, row.status)
        redis.call('HSET', job_key(id), 'status', 'pending', 'due', text(now))
        redis.call(
            'HDEL', job_key(id), 'retries', 'releases', 'snoozes', 'crashes', 'expiries',
            'suspect', 'cancel', 'token', 'ended_as', 'since', 'started', 'ended', 'ended_by'
        )
        count(row.queue, row.status, -1)
        count(row.queue, 'pending', 1)
        wait_in(row.queue, id, row.seq, row.priority, text(now), now, true)
        changed[#changed + 1] = id
    end
end
finish()
return changed
