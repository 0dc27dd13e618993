"""rpm's package database in its three formats, read without rpm and without their libraries.

A database is the work of whoever built the image. So every offset is checked, every count and chain is bounded, of
each package only the beginning is read, and nothing is recursive: a package is found, or InvalidDatabase is raised.

bdb.py Berkeley DB's hash (`Packages`, up to RHEL 8) · ndb.py rpm's own (`Packages.db`, SUSE) · sqlite.py SQLite
(`rpmdb.sqlite`, from RHEL 9 and Fedora 33 on) · header.py the header of a package, which all three store ·
database.py the packages of a file in any of them.
"""
