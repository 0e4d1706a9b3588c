"""`python -m ptycho_torch` is `ptycho-torch`."""

from ptycho_torch.cli import main

if __name__ == "__main__":
    main()
