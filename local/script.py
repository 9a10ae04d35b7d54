"""Prints the script that the SSM document runs on instances: `make script`, and the linter's input."""

from pathlib import Path

import yaml

DOCUMENT = Path(__file__).parent.parent / "documents" / "configure-postfix.yaml"


def script() -> str:
    """The document's one script, as the agent writes it before it substitutes the parameters."""
    [step] = yaml.safe_load(DOCUMENT.read_text())["mainSteps"]
    return "\n".join(step["inputs"]["runCommand"]) + "\n"


if __name__ == "__main__":
    print(script(), end="")
