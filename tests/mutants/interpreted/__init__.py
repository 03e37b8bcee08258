"""Stand-ins for some files of kernels/: the same functions, and nothing is compiled.

A mutant of a kernel that Python reads costs seconds, and a compiled one minutes. What compiled code
would do silently, reading beside an array, is an error here. Addresses stay unchecked.
"""
