"""What a user would pick instead, each used as its documentation says.

Each has an environment of its own. What runs there imports the standard library and the peer alone.
"""
