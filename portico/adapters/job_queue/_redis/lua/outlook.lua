-- Answers with the time, and per queue since when the first job in it has been due and when the next
-- one will be, in microseconds, '' for none. Of each priority only the first job is looked at.
local MOST_PRIORITIES = 1000
local now = clock()
local function due_of(place) return is_place(place) and moment(string.sub(place, 1, 18)) end

local found = {}
for number, queue in ipairs(peek('SMEMBERS', QUEUES) or {}) do
    local first, later, above = nil, nil, '-inf'
    local function see(place)
        local due = place and due_of(place)
        if due and due <= now and (not first or due < first) then first = due end
        if due and due > now and (not later or due < later) then later = due end
    end
    for _ = 1, MOST_PRIORITIES do
        local ready = peek(
            'ZRANGEBYSCORE', queue_key(queue, 'ready'), above, '+inf', 'WITHSCORES', 'LIMIT', 0, 1
        ) or {}
        if #ready == 0 then break end
        see(ready[1])
        above = '(' .. ready[2]
    end
    local waits = queue_key(queue, 'later')
    see((peek('ZRANGE', waits, 0, 0) or {})[1])
    see((peek(
        'ZRANGEBYLEX', waits, '[' .. string.format('%018d', now) .. ':~', '+', 'LIMIT', 0, 1
    ) or {})[1])
    found[number] = { queue, first and text(first) or '', later and text(later) or '' }
end
return { text(now), found }
