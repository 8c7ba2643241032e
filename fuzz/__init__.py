"""Damaged files of every kind, and whether ``spa`` ends in a result or in a refusal of its own: ``make fuzz``.

A case is told by two numbers, the seed of the run and its own. It takes a small model, damages it or what lies beside
it (a plan, a configuration, calibration data, weights), and runs one or two commands as a user would.
"""
