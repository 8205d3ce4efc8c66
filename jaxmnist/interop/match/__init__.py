"""Parameters of any JAX model as those of any PyTorch module, found by name, shape and order.

found = match(params, module)
print(found)                                # a table, with why each is which
params = found.to_jax(module.state_dict())
module.load_state_dict(found.to_torch(params), strict=False)
"""

from jaxmnist.interop.match.matching import match as match
from jaxmnist.interop.match.result import Entry as Entry
from jaxmnist.interop.match.result import Match as Match
from jaxmnist.interop.match.result import Unmatched as Unmatched
