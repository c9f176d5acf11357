-- ARGV: ids. What failed starts afresh; its last error and its history stay for people to read.
local now = clock()
local changed = {}
for _, id in ipairs(ARGV) do
    local row, is_lost = read(id)
    if is_lost then bury(id, lost_queue(), nil, lost('its row', job_key(id)), now) end
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
return finish(changed)
