"""The mathematics behind training: what backpropagation computes, one node at a time."""

from jaxmnist.calculus.graph import Edge as Edge
from jaxmnist.calculus.graph import Graph as Graph
from jaxmnist.calculus.graph import Node as Node
from jaxmnist.calculus.graph import trace_graph as trace_graph
from jaxmnist.calculus.graph_text import chain_rule as chain_rule
from jaxmnist.calculus.graph_text import to_dot as to_dot
