"""What queues and job types may be called. By itself, for a supervisor needs it before all else."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
"""What queue names and job types are made of."""
