-- ARGV: four per settlement: id, token ('' for whichever attempt runs), transition, body. The body
-- is the result of a completion, and the packed arguments of `end_attempt` for all else.
local now = clock()
local bodies = {}
for at = 1, #ARGV, 4 do
    local transition, body = ARGV[at + 2], ARGV[at + 3]
    bodies[at] = transition == 'complete' and body or cmsgpack.unpack(body)
end

local receipts = {}
for at = 1, #ARGV, 4 do
    local id, token, word = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local row = word == 'complete' and read_little(id) or read(id)
    if not row then
        receipts[#receipts + 1] = 'not_found'
    elseif row.status ~= 'running' or (token ~= '' and token ~= row.token) then
        local again = token ~= '' and token == row.token and row.ended_as == word
        receipts[#receipts + 1] = (again and 'already:' or 'lost:') .. row.status
    elseif word == 'complete' then
        receipts[#receipts + 1] = 'ok:' .. complete(id, row, bodies[at], now)
    else
        receipts[#receipts + 1] = 'ok:' .. end_attempt(id, row, word, bodies[at], now)
    end
end
finish()
return receipts
