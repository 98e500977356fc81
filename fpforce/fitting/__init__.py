"""The whole way by one command: train, export, sample, simulate, evaluate, and go on until the verdict is pass.

Beside the commands this is the only room of the runtime with imports of `fpforce.training`. They are inside functions:
importing it loads neither torch nor the training package.
"""
