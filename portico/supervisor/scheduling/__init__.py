"""The scheduling core: which worker gets which job, and what every event means for the jobs.

Pure: it is told events and answers with commands. No clock, no input or output and no randomness
in here, so that a simulator can drive it through any history and replay it from its seed.

    events ──► Scheduler.step(event, now) ──► commands
                 ├── backlog, dispatch    what waits, and who gets it
                 ├── claims               whether a worker's frame can be true
                 ├── watch                what takes too long
                 └── inquest              what a death means for what was held
"""
