"""What keeps a handler from its supervisor, its zygote and its siblings, though all of them are one
user's: the kernel's own means, which a process takes on for itself and cannot put off.

`landlock` and `seccomp` ask the kernel; `enclosure` says which process takes on what, and when;
`offer` what this kernel has of it.
"""
