-- ARGV: a queue, or nothing for all of them.
local queues = ARGV[1] and { ARGV[1] } or peek('SMEMBERS', QUEUES) or {}
local found = {}
for number, queue in ipairs(queues) do
    found[number] = { queue, peek('HGETALL', queue_key(queue, 'counts')) or {} }
end
return found
