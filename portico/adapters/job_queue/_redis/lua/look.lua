-- ARGV: a queue, how many jobs to look at, and behind which of them: score and place, or nothing.
-- Answers with 1 when more is due than one script may look at: ask again; and per job that waits and
-- is due its score, its place and its type, in order.
local queue, portion = ARGV[1], checked(ARGV[2])
local ready = queue_key(queue, 'ready')
if not promote(queue, clock()) then return with_damage({ 1 }) end

-- How many stand before a place, which need not be taken: its score is shared by many.
local function behind(score, place)
    local low = sound('ZCOUNT', ready, '-inf', '(' .. score)
    local high = sound('ZCOUNT', ready, '-inf', score)
    while low < high do
        local middle = math.floor((low + high) / 2)
        if redis.call('ZRANGE', ready, middle, middle)[1] <= place then
            low = middle + 1
        else
            high = middle
        end
    end
    return low
end

local from = ARGV[3] and behind(text(checked(ARGV[3])), ARGV[4]) or 0
local found = sound('ZRANGE', ready, from, from + portion - 1, 'WITHSCORES')
local jobs, is_sound = { 0 }, true
for number = 1, #found, 2 do
    local place, score = found[number], tonumber(found[number + 1])
    if not is_place(place) then
        drop(ready, place)
        is_sound = false
    elseif not is_countable(score) or score ~= math.floor(score) then
        redis.call('ZADD', ready, 0, place) -- where a damaged number puts it
        is_sound = false
    else
        jobs[#jobs + 1] = text(score)
        jobs[#jobs + 1] = place
        jobs[#jobs + 1] = peek('HGET', job_key(string.sub(place, -32)), 'type') or ''
    end
end
return with_damage(is_sound and jobs or { 1 })
