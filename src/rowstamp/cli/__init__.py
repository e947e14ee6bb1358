"""The command line. It uses only the public API, and is imported only by ``rowstamp.__main__``: it needs typer and rich."""
