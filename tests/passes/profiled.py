"""Passes that follow a profile, as functions from HCFG to HCFG."""

from __future__ import annotations

from dataclasses import replace

from dyncc.ir.hcfg import Hcfg
from dyncc.ir.profile import Profile
from dyncc.passes import fuse_paths as by_profile

#: Of ten times that a branch is reached, those that it goes its first way, and its second.
WAYS = (8, 2)


def fuse_paths(program: Hcfg) -> Hcfg:
    """`program` with its paths fused, as if a region took 2 µs and first ways were likely."""
    edges = {(block, way): WAYS[way] for block, way, _ in program.edges()}
    profile = Profile(10, edges, dict.fromkeys(program.regions, 2e-6))
    while True:
        after, seconds = by_profile.fuse_paths(program, profile)
        if after is program:
            return program
        program, profile = after, replace(profile, seconds=seconds)
