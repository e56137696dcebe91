"""SkipOPU without hardware: the simulator that runs its programs bit by bit, and the model of time.

Both dispatch instructions through `sequencer`, and so agree with each other on what runs when.
"""
