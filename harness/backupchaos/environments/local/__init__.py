"""The ``local`` environment: Linux namespaces, or a plain directory where those are refused.

``LocalEnvironment`` is the factory. The harness side lives in ``environment`` and ``sandbox``;
everything else runs in the *agent*, a small process of its own that uses the standard library only.
"""
