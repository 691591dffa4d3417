"""Track values of any kind from Python: text, numbers, nested values, pydantic models by alias.

Run it, fold what it tracked, and look at it:

    python examples/experiment_tracking_api.py
    steplogd drain
    steplog show RUN --json
"""

from pydantic import BaseModel, Field

import steplog


class Eggs(BaseModel):
    """A pydantic model is tracked as a dict, under the names of its aliases."""

    kind: str = Field(serialization_alias="ham")


def main() -> None:
    """Track once; the run starts by itself, and ends with the program."""
    steplog.track_this(spam="hello", eggs=Eggs(kind="world"), answer=42.0)
    steplog.track_this(breakfast={"plates": [Eggs(kind="world"), Eggs(kind="universe")]})
    print(f"tracked as {steplog.get_run_id()}")


if __name__ == "__main__":
    main()
