"""Tasks that run inside a transaction of the user's own database, and commit their result with it.

The result lies in a table of that database, under the key of the invocation and the number of the
attempt, and is written by the transaction that writes the user's rows. So either both are there or
neither is, and of two attempts at the same thing the second one finds, or runs into, the first's.
"""
