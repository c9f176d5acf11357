"""A soak under faults whose every execution is accounted for.

    producer ─► queue ◄─► two supervisors ─► workers ─► handlers that misbehave by plan
        │                      ▲      ▲                     │
        │                   nemesis: kills, pauses, locks   │
        └────────► ledger ◄─────────┴───────────────────────┘ ─► verdict

| module | |
|---|---|
| `mix`, `work` | what the jobs are, and the handlers that run them |
| `producer` | a process that creates jobs at a steady rate |
| `ledger` | one line per thing that happened to a job, written by whoever did it |
| `nemesis`, `faults` | which faults come when (pure), and carrying them out |
| `fleet` | the supervisors' processes |
| `archive` | what the store knows in the end, with every change of status on the way |
| `causes`, `checks`, `verdict` | the judgement: pure functions of all of the above |
| `dossier`, `outcome` | the story of one job, and the figures of the run, for people to read |
| `run`, `command` | from the beginning to the end |
"""
