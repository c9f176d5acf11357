-- ARGV: queue, status, ended before (microseconds, or ''), job type or '', how many to delete at
-- most, how many to look at, how many to pass over, what ids begin with. Answers with how many went
-- and how many stayed.
local queue, status, job_type = ARGV[1], ARGV[2], ARGV[4]
local before = ARGV[3] == '' and '+inf' or checked(ARGV[3])
local most, looked_at, passed = checked(ARGV[5]), checked(ARGV[6]), checked(ARGV[7])
if not ENDED[status] then error('no status of jobs that ended: ' .. status, 0) end
local ids = sound(
    'ZRANGEBYSCORE', queue_key(queue, status), '-inf', before, 'LIMIT', passed, looked_at
)
local going, stayed = {}, 0
for _, id in ipairs(ids) do
    if #going == most then break end
    if string.sub(id, 1, #ARGV[8]) == ARGV[8]
        and (job_type == '' or peek('HGET', job_key(id), 'type') == job_type) then
        going[#going + 1] = id
    else
        stayed = stayed + 1
    end
end
for _, id in ipairs(going) do
    if is_id(id) then count(queue, status, -1) else tell_of_entry(queue_key(queue, status), id) end
    ends_no_more(queue, id, status)
    sound('ZREM', ALL, id)
    redis.call('UNLINK', job_key(id), body_key(id), history_key(id))
end
local answer = finish({ #going, stayed, #ids })
local left = 0
for _, found in ipairs(sound('HVALS', queue_key(queue, 'counts'))) do left = left + whole(found) end
if left == 0 then
    sound('SREM', QUEUES, queue)
    redis.call('DEL', queue_key(queue, 'counts'))
end
return answer
