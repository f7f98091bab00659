"""What `soak.py` is made of: a load, events that disturb it, and a model that knows of every answer whether it may be so.

The model has nothing of the product: it is written from README.md, docs/operations.md and the RFCs.
"""
