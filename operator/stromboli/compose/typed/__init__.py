"""The merged tree of a project → a `stack.Stack`: strict models, which are the check, and what no policy can loosen.

The models (`service.py`, `project.py` and what they are made of) are also what the table of supported keys is generated
from: compose/keys.py. What a policy decides is left as it is, for plan/stack/.
"""
