"""Derivatives by themselves: expansions of any order, and why gradient descent descends."""

from jaxmnist.calculus.descent import change_by_angle as change_by_angle
from jaxmnist.calculus.descent import gradient_steps as gradient_steps
from jaxmnist.calculus.descent import hessian_vector_product as hessian_vector_product
from jaxmnist.calculus.descent import largest_decreasing_rate as largest_decreasing_rate
from jaxmnist.calculus.descent import largest_eigenvalue as largest_eigenvalue
from jaxmnist.calculus.taylor import taylor as taylor
from jaxmnist.calculus.taylor import taylor_coefficients as taylor_coefficients
