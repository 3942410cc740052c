"""Joins the stages, alone in that: the command line, the service and library users call it."""
