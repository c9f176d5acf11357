-- ARGV: a queue, how many jobs to look at, and behind which of them: score and place, or nothing.
-- Answers with 1 when more is due than one script may look at: ask again; and per job that waits and
-- is due its score, its place and its type, in order.
local queue, portion = ARGV[1], checked(ARGV[2])
local ready = queue_key(queue, 'ready')
if not promote(queue, clock()) then return { 1 } end

-- How many stand before a place, which need not be taken: its score is shared by many.
local function behind(score, place)
    local low = redis.call('ZCOUNT', ready, '-inf', '(' .. score)
    local high = redis.call('ZCOUNT', ready, '-inf', score)
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
local found = redis.call('ZRANGE', ready, from, from + portion - 1, 'WITHSCORES')
local jobs = { 0 }
for number = 1, #found, 2 do
    local place = found[number]
    jobs[#jobs + 1] = text(whole(found[number + 1]))
    jobs[#jobs + 1] = place
    jobs[#jobs + 1] = redis.call('HGET', job_key(string.sub(place, -32)), 'type') or ''
end
return jobs
