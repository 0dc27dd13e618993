"""Mutual TLS between the gateway and the operators: the keys that they share, and each process's own certificate.

A Secret in the operator's namespace holds a certificate authority. Whoever needs it first creates it (`authority`).
Each process has a certificate of it for a while only, and makes itself another before that ends (`keyring`). They are
created in a process of its own (`sign`), and what TLS needs of them is in `contexts`.
"""
