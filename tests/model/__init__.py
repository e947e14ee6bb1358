"""The protocol under the exploring scheduler: every interleaving of small cases, random ones of large cases."""
