"""Settings for every test: nothing broadcasts across ranks or promotes dtypes silently."""

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
