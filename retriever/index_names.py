"""How indexes are named; apart from the indexes, so that settings can say it without faiss."""

LOCAL = "local"
INDEX_NAMES = (
    "'local', for the index directory, or 'ray://HOST:PORT', for the shards on the Ray cluster "
    "with that head ('ray://auto': the cluster that this machine is a node of)"
)
