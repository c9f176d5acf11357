-- For what looks at the jobs that wait.
local PROMOTED_AT_ONCE = 1000

-- Let those that are due wait by their priority, and say whether that is all of them: before that
-- nothing may be leased, for the most urgent one may come last.
local function promote(queue, now)
    local later = queue_key(queue, 'later')
    local due = sound(
        'ZRANGEBYLEX', later, '-', '[' .. place_until(now) .. ':~', 'LIMIT', 0, PROMOTED_AT_ONCE
    )
    if #due == 0 then return true end
    local ready = {}
    for _, place in ipairs(due) do
        local key = job_key(string.sub(place, -32))
        local priority = peek('HGET', key, 'priority')
        if priority or redis.call('EXISTS', key) == 1 then -- leasing sees what is wrong with it
            ready[#ready + 1] = -whole(priority)
            ready[#ready + 1] = place
        end
    end
    write_all('ZADD', queue_key(queue, 'ready'), ready)
    redis.call('ZREMRANGEBYRANK', later, 0, #due - 1)
    return #due < PROMOTED_AT_ONCE
end
