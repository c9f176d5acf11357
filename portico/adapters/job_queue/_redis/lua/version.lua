-- The version of what is kept here: '' when nothing was stored yet, the first when no version was.
return peek('GET', VERSION) or (peek('GET', SEQ) and '1' or '')
