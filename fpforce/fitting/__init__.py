"""The whole way by one command: train, export, sample, simulate, evaluate, and go on until the verdict is pass.

The only room of the runtime that uses `fpforce.training`, and it does so inside functions: importing it loads neither
torch nor the training package.
"""
