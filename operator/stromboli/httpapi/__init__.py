"""The HTTP API: Stromboli's own calls, answered by objects of the cluster. It runs in the gateway's process.

`calls/` has the routes, a module for each subject; `shapes/` what is sent and answered, `translate/` how that becomes
objects of the cluster and the other way round (both pure); `caller` says on whose behalf a call acts, `app` joins it
all, `server` listens. Nothing is kept in memory between two calls: another replica, or this one after a restart,
answers the same.
"""
