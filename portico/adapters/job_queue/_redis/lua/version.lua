-- The version of what is kept here, '' when nothing was stored yet.
return redis.call('GET', VERSION) or ''
