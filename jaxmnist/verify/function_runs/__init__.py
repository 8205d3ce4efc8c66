"""The work behind `verify.function`: both functions run, compared, and their difference named."""
