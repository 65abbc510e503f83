"""`python -m llmprov`: how playbooks running on the controller call the package they came with."""

from llmprov.cli.main import main

if __name__ == "__main__":
    main()
