"""The pages that show operators what is happening, complete without JavaScript.

They change nothing, and like the protocol they are open to whoever reaches the address: guard
that address where more than the host itself can reach it.
"""
