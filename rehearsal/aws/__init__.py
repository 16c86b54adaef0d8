"""What runs inside the `aws` container: moto, and what moto lacks for hosts that boot and images that move.

`python -m aws` starts it; `python -m aws.certificates` makes the gateway's.
"""
