"""The tables of the documents, made from the code: ``python -m docs.generate``, or ``make docs``.

A document says where a table goes by ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``.
"""
