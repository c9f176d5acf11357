-- What every script begins with: the names of the keys, numbers, and arguments.
--
-- KEYS[1] is the prefix of all keys of one namespace, with its hash tag: all of them lie in one
-- slot. A script reads and checks first and writes afterwards, for Redis undoes nothing: whatever
-- is wrong with its arguments is found out before its first write.

local PREFIX = KEYS[1]
local WAITING = { pending = true, scheduled = true, retrying = true }
local ENDED = { completed = true, failed = true, dead_letter = true }
local function is_status(word) return word == 'running' or WAITING[word] or ENDED[word] end

local function job_key(id) return PREFIX .. 'job:' .. id end
local function body_key(id) return PREFIX .. 'body:' .. id end
local function history_key(id) return PREFIX .. 'history:' .. id end
local function queue_key(queue, part) return PREFIX .. 'queue:' .. queue .. ':' .. part end
local LEASES, ALL, CANCELS = PREFIX .. 'leases', PREFIX .. 'all', PREFIX .. 'cancels'
local QUEUES, SEQ, WAKE = PREFIX .. 'queues', PREFIX .. 'seq', PREFIX .. 'wake'
local VERSION = PREFIX .. 'version'

local function text(number) return string.format('%d', number) end

-- The same of an instant that many jobs share. Redis would print a number anew for each of them,
-- and as one with a fraction.
local printed, printed_as
local function stamp(instant)
    if printed ~= instant then printed, printed_as = instant, text(instant) end
    return printed_as
end

local LARGEST = 9007199254740992 -- up to here each number is itself
local function is_countable(number)
    return number ~= nil and number == number and math.abs(number) <= LARGEST
end

-- A number of a row. A damaged one counts as 0: an error half-way would lose the jobs beside it.
local function whole(value)
    local number = tonumber(value)
    return is_countable(number) and number or 0
end

-- The same of an instant, which may lie as far from now as a date can.
local FARTHEST = 1e18
local function moment(value)
    local number = tonumber(value)
    return number and math.abs(number) < FARTHEST and number or 0
end

-- A waiting job's place sorts by when it is due, then by age; the score before it is the priority.
local function place_of(due, seq, id)
    return string.format('%018d:%016d:%s', moment(due), whole(seq), id)
end
local PLACE_SIZE = 68
local function is_id(text)
    return #text == 32 and string.find(text, '^%x+$') and string.lower(text) == text
end
local function is_place(text)
    return #text == PLACE_SIZE and string.find(text, '^[%-%d]%d+:[%-%d]%d+:%x+$')
        and string.lower(text) == text
end

-- How the places begin of those that are due now.
local function place_until(now) return string.format('%018d', now) end

-- Of the attempts so far: a token begins with the number of its own.
local function attempt_of(token)
    return token and whole(tonumber(string.sub(token, 1, 8), 16)) or 0
end

-- An argument that must be a whole number.
local function checked(value)
    local number = tonumber(value)
    if not is_countable(number) or number ~= math.floor(number) then
        error('an argument is no number: ' .. tostring(value), 0)
    end
    return number
end
local function checked_moment(value)
    local number = tonumber(value)
    if not number or number ~= math.floor(number) or math.abs(number) >= FARTHEST then
        error('an argument is no instant: ' .. tostring(value), 0)
    end
    return number
end
local function checked_size(value, size)
    if not value or #value ~= size then error('an argument has the wrong size', 0) end
    return value
end
local function checked_width(count, width)
    if count < 0 or count % width ~= 0 then error('arguments are missing', 0) end
end
