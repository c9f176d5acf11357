-- What is not as Portico wrote it. Redis undoes nothing, so no script may be stopped half-way by what
-- somebody else wrote: a key of another kind than ours is put aside by what writes, passed over by
-- what reads, and told of; both go on for the jobs beside it.

local damage = {} -- triples: what it is, its name, and more
local function tell(what, name, more) damage[#damage + 1] = { what, name, more } end

local function is_of_another_kind(answer)
    if type(answer) ~= 'table' or not answer.err then return false end
    if not string.find(answer.err, 'WRONGTYPE', 1, true) then error(answer) end
    return true
end

-- What a key holds; nil where it is of another kind.
local function peek(command, key, ...)
    local answer = redis.pcall(command, key, ...)
    if is_of_another_kind(answer) then return nil end
    return answer
end

local function put_aside(key)
    local name = string.sub(key, #PREFIX + 1)
    tell('kind', name, redis.call('TYPE', key).ok)
    redis.call('RENAME', key, PREFIX .. 'damaged:' .. name)
end

-- Run a command on a key that is as it should be, or not there.
local function sound(command, key, ...)
    local answer = redis.pcall(command, key, ...)
    if not is_of_another_kind(answer) then return answer end
    put_aside(key)
    return redis.call(command, key, ...)
end

-- What stands in an index and is no job's is taken out; of many in one index the first is told.
local SHOWN_OF_AN_ENTRY = 80
local dropped = {}
local function tell_of_entry(key, entry)
    if dropped[key] then return end
    dropped[key] = true
    tell('entry', string.sub(key, #PREFIX + 1), string.sub(entry, 1, SHOWN_OF_AN_ENTRY))
end
local function drop(key, entry)
    redis.call('ZREM', key, entry)
    tell_of_entry(key, entry)
end

local function with_damage(answer)
    if #damage == 0 then return answer end
    return { '@DAMAGE@', answer, damage }
end
