"""What is there: policies, references, images, the CLI, the attempt. Looks and waits, decides nothing.

A lookup that fails is never "it is not there": it raises, and the run waits with a reason.
"""
