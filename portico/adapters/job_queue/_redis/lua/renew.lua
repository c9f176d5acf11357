-- ARGV: lease length in microseconds, then id and token per lease.
local expires = text(clock() + checked(ARGV[1]))
checked_width(#ARGV - 1, 2)
local answers, held = {}, gather('ZADD', LEASES)
for at = 2, #ARGV, 2 do
    local row = redis.pcall('HMGET', job_key(ARGV[at]), 'status', 'token', 'cancel')
    if row.err and is_of_another_kind(row) then
        answers[#answers + 1] = 'lost'
    elseif not row[1] and not row[2] then
        answers[#answers + 1] = 'not_found'
    elseif (row[1] ~= 'running' and is_status(row[1])) or row[2] ~= ARGV[at + 1] then
        answers[#answers + 1] = 'lost'
    else
        held[#held + 1] = expires
        held[#held + 1] = ARGV[at]
        answers[#answers + 1] = row[3] and 'cancel' or 'ok'
    end
end
return finish(answers)
