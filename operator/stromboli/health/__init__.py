"""What is wrong with this operator: its checks, and the server that answers probes.

Checks only read what is known already: asking often costs nothing. What has to be asked for, `probes` asks regularly.
"""
