"""The tutorial's run in both frameworks, and whether their distance is rounding or a bug.

Two correct programs drift apart: each rounds in its own order, and training magnifies the
difference from step to step. How fast is a property of the run and can be measured: our own run is
repeated from initial weights that are perturbed by one unit in the last place (ULP). A program that
stays within ten times that distance differs by rounding; one that leaves it computes something
else.

`verify.training` is the function in `entry`; the package has another name because a package
`verify.training` and that function could not both be an attribute of `verify`.
"""
