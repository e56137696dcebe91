"""Search for faster code of single kernels, and what such searches found before.

`session.tune` searches; `database` keeps what is found; `reuse` is how a compilation takes it from
there. docs/tuning.md is the manual.
"""
