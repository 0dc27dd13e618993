"""What runs in a named session go through: each module has one job, and assembly.py connects them."""
