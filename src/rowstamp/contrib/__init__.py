"""Helpers for other libraries; each module needs the library it is named for, and nothing imports it unasked."""
