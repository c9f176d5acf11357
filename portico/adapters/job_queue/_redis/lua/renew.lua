-- ARGV: lease length in microseconds, then id and token per lease.
local expires = clock() + tonumber(ARGV[1])
local answers = {}
for at = 2, #ARGV, 2 do
    local row = redis.call('HMGET', job_key(ARGV[at]), 'status', 'token', 'cancel')
    if not row[1] then
        answers[#answers + 1] = 'not_found'
    elseif row[1] ~= 'running' or row[2] ~= ARGV[at + 1] then
        answers[#answers + 1] = 'lost'
    else
        redis.call('ZADD', LEASES, expires, ARGV[at])
        answers[#answers + 1] = row[3] and 'cancel' or 'ok'
    end
end
return answers
