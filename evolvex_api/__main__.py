"""`python -m evolvex_api` is the command `evolvex-api`."""

from evolvex_api.cli import main

main(prog_name="evolvex-api")
