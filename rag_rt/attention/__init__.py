"""The mathematics of routing attention: one idea a file, tensors in, tensors out.

Glossary, used in every file:
    B batch, H heads, L positions, S positions of the memory that is attended to,
    Q queries of one group, K keys of one group, N groups (blocks), C clusters,
    W positions in a cluster's window, R the farthest relative position, D depth of one head.
"""
