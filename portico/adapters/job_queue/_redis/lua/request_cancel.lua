-- ARGV: id. The holder of a running job is asked to stop it.
local id = ARGV[1]
if peek('HGET', job_key(id), 'status') ~= 'running' then return 0 end
redis.call('HSET', job_key(id), 'cancel', '1')
sound('SADD', CANCELS, id)
redis.call('PUBLISH', WAKE, '*')
return with_damage(1)
