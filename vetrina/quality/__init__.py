"""Whether what was made is good: pure judgements over the store's files, for asset checks and for people."""
