"""The kernel's state as rows: what a checkpoint writes, and another process makes the kernel of again.

``schema`` says what of each class is state, ``forms`` how a value of each type stands in a row, ``save`` makes rows of
objects, ``load`` objects of rows.
"""
