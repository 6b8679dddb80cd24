"""Links: TCP proxies between the target and its services, and the log of what happened on them.

``links.Links`` is the engine's face, ``client`` speaks Toxiproxy's HTTP API to any server of it,
``linkd`` is the child process that carries the traffic, ``analysis`` reads the event log.
"""
