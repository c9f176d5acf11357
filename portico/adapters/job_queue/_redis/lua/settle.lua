-- ARGV: four per settlement: id, token ('' for whichever attempt runs), transition, body. The body
-- is the result of a completion, and the packed arguments of `end_attempt` for all else.
local WORDS = {
    complete = true, retry = true, fail = true, release = true, interrupt = true, suspect = true,
    crash = true, snooze = true, quarantine = true,
}
checked_width(#ARGV, 4)
local now = clock()
local ended = text(now)
local told = {}
for at = 1, #ARGV, 4 do
    local word = ARGV[at + 2]
    if not WORDS[word] then error('no such transition: ' .. word, 0) end
    if word ~= 'complete' then told[at] = checked_told(ARGV[at + 3]) end
end

local function standing(id, token, word)
    local found = redis.call('HMGET', job_key(id), 'status', 'token', 'ended_as')
    if not found[1] then return 'not_found' end
    if not is_status(found[1]) then return 'lost:dead_letter' end
    local ended_as = found[1] == 'completed' and 'complete' or found[3]
    local again = token ~= '' and token == found[2] and word == ended_as
        and found[1] ~= 'running'
    return (again and 'already:' or 'lost:') .. found[1]
end

local receipts = {}
for at = 1, #ARGV, 4 do
    local id, token, word = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local key = job_key(id)
    local found = redis.pcall('HMGET', key, 'status', 'queue', 'token')
    local receipt
    if found.err and is_of_another_kind(found) then
        bury(id, lost_queue(true), 'running', lost('its row', key), now)
        receipt = 'lost:dead_letter'
    elseif (found[1] ~= 'running' and not runs(found[1], found[3], token))
        or (token ~= '' and token ~= found[3]) then
        receipt = standing(id, token, word)
    elseif word == 'complete' then
        receipt = complete(id, found[2] or lost_queue(true), ARGV[at + 3], now, ended)
    else
        receipt = 'ok:' .. end_attempt(id, read(id), word, told[at], now)
    end
    receipts[#receipts + 1] = receipt
end
return finish(receipts)
