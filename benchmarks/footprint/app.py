"""An application that imports pandas, as applications do: at the top of its module."""

from __future__ import annotations

import pandas as pd

from benchmarks import noop

pandas_version = pd.__version__
app = noop.app
