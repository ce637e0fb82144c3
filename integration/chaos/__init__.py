"""Owns what is tried against the sink, many times and repeatably: faults, their proof, the audit after them and the scoreboard. Not components, not the audit itself."""
