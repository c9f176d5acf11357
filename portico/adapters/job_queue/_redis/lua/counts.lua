-- ARGV: a queue, or nothing for all of them.
local queues = ARGV[1] and { ARGV[1] } or redis.call('SMEMBERS', QUEUES)
local found = {}
for number, queue in ipairs(queues) do
    found[number] = { queue, redis.call('HGETALL', queue_key(queue, 'counts')) }
end
return found
