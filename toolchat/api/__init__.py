"""The Python API: a session that a program asks (docs/python.md).

Importing it is cheap: what a chat needs is imported when it is opened.
"""
