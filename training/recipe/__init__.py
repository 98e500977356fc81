"""The choices of a training: reading them, their sections with defaults and bounds, the models', and the plan of each
expert.
"""
