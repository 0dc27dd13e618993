"""A control plane on this machine: real etcd, kube-apiserver and kube-controller-manager, on loopback.

    binaries       where the programs come from: an own folder, the cache, else
    download         the official release, by checksum, else
    build, toolchain the Go modules
    cluster        up, down, parts; joins the rest:
    certificates     its own CA, serving certificates, keys and the administrator's token
    parts            the command line of each program
    processes        detached processes, known by pid and start time
    ports, kubeconfig, probes, lock, progress

Nothing here knows of Stromboli's kinds, and the operator needs nothing of this: any cluster will do.
"""
