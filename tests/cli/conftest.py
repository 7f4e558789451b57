"""The command line writes as into a pipe, whatever the terminal of the tests."""

from sparsecore.cli.screen import console

console.width = 132
