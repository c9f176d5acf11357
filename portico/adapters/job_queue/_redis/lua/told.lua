-- ARGV: id. A job, its body and its history, as they are at one instant.
return {
    redis.call('HGETALL', job_key(ARGV[1])), redis.call('GET', body_key(ARGV[1])),
    redis.call('LRANGE', history_key(ARGV[1]), 0, -1),
}
