"""`python -m jaxmnist`: the same commands as `jaxmnist`."""

from jaxmnist.cli import main

if __name__ == "__main__":
    main()
