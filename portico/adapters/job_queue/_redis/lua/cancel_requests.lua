-- ARGV: owner. Its leases that someone asked to end.
local MOST = 10000 -- of more some others the next time; what runs no more is taken out by recovery
local found = {}
for _, id in ipairs(peek('SRANDMEMBER', CANCELS, MOST) or {}) do
    local row = is_id(id) and peek('HMGET', job_key(id), 'owner', 'status', 'token')
    if row and row[1] == ARGV[1] and row[2] == 'running' then found[#found + 1] = { id, row[3] or '' } end
end
return found
