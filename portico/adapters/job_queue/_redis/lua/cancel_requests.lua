-- ARGV: owner. Its leases that someone asked to end.
local found = {}
for _, id in ipairs(redis.call('SMEMBERS', CANCELS)) do
    local row = redis.call('HMGET', job_key(id), 'owner', 'status', 'token')
    if row[1] == ARGV[1] and row[2] == 'running' then found[#found + 1] = { id, row[3] } end
end
return found
