"""The gateway: what stands behind the APIService of the read API, between the API server and the operators.

While the server behind an APIService is away, no namespace of the cluster can be deleted. So this is a small process of
its own without a state, that can be there twice; an operator that is down matters only to what is on its node.

`process` runs it, `server` is its HTTP side: whom it trusts is decided in `trust`, what may be asked in `routes`, and
`onward` passes that on. What it says by itself is in `discovery`; `upkeep` keeps up with what the API server says.
"""
