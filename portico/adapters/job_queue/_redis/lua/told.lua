-- ARGV: id. A job, its body and its history, as they are at one instant; where its row is of another
-- kind, what that is.
local id = ARGV[1]
local row = peek('HGETALL', job_key(id))
return {
    row or {}, peek('GET', body_key(id)) or false, peek('LRANGE', history_key(id), 0, -1) or {},
    row and '' or redis.call('TYPE', job_key(id)).ok,
}
