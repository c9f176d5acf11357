return text(clock())
