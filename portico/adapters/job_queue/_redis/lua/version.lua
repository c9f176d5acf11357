-- The version of what is kept here: '' when nothing was stored yet, the first when no version was.
return redis.call('GET', VERSION) or (redis.call('GET', SEQ) and '1' or '')
