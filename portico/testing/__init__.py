"""For the tests of applications and of adapters; nothing else in Portico imports it.

pytest is needed by `portico.testing.contract` and `portico.testing.fixtures` only, hypothesis by
nothing but `portico.testing.model`: `pip install portico-jobs[testing]` brings both.
"""
