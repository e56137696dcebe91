"""Language models that skip layers token by token, and integer twins of the SkipOPU overlay."""
