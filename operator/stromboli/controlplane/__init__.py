"""A local control plane: real etcd, kube-apiserver and kube-controller-manager, listening on loopback.

    binaries       where the programs come from: a folder of the user's, the cache, else
    download         the official release, verified by checksum, else
    build, toolchain a build from the Go modules
    cluster        up, down, parts; combines the rest:
    certificates     its own CA, serving certificates, keys and the administrator's token
    parts            the command line of each program
    processes        detached processes, identified by PID and start time
    ports, kubeconfig, probes, lock

Nothing here depends on Stromboli's kinds, and the operator does not depend on this: it works with any cluster.
"""
