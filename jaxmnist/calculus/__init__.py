"""The mathematics behind training: backpropagation, Taylor's formula, and gradient descent."""

from jaxmnist.calculus.descent import change_by_angle as change_by_angle
from jaxmnist.calculus.descent import gradient_steps as gradient_steps
from jaxmnist.calculus.descent import hessian_vector_product as hessian_vector_product
from jaxmnist.calculus.descent import largest_decreasing_rate as largest_decreasing_rate
from jaxmnist.calculus.descent import largest_eigenvalue as largest_eigenvalue
from jaxmnist.calculus.graph import Edge as Edge
from jaxmnist.calculus.graph import Graph as Graph
from jaxmnist.calculus.graph import Node as Node
from jaxmnist.calculus.graph import trace_graph as trace_graph
from jaxmnist.calculus.graph_text import chain_rule as chain_rule
from jaxmnist.calculus.graph_text import to_dot as to_dot
from jaxmnist.calculus.taylor import taylor as taylor
from jaxmnist.calculus.taylor import taylor_coefficients as taylor_coefficients
